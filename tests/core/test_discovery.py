"""Plugins are found as importlib.metadata finds them, which is asked where the path is unusual."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from git_theta import discovery
from git_theta.discovery import EntryPoint, entry_points
from git_theta.errors import PluginError

INFO = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not this one\n"


def lay(folder: Path, info: str, entries: str | None, name: str = "", version: str = "1.0") -> None:
    """What pip leaves of a distribution, without its modules."""
    (folder / info).mkdir(parents=True)
    file = "PKG-INFO" if info.endswith("egg-info") else "METADATA"
    (folder / info / file).write_text(INFO.format(name=name, version=version))
    if entries is not None:
        (folder / info / "entry_points.txt").write_text(entries)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders that are all of the path."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(first), str(tmp_path / "not there"), str(second)])
    return first, second


def told(group: str = "git_theta") -> list[EntryPoint]:
    """What is found, which is what importlib.metadata finds."""
    found = entry_points(group)
    theirs = metadata.entry_points(group=group)
    assert {(e.dist.name, e.name, e.value, e.dist.version) for e in theirs if e.dist} == set(found)
    assert len(theirs) == len(found)
    return found


def test_entry_points_of_the_group_are_found_in_order_of_their_distributions(
    folders: tuple[Path, Path],
) -> None:
    first, second = folders
    lay(first, "theta_b-1.0.dist-info", "[git_theta]\nz = b.z\na=b:plugin.it\n", "theta-b")
    lay(second, "Theta.A-2.0.dist-info", "[git_theta]\nmain = a\n", "Theta.A", "2.0")
    lay(second, "other-1.dist-info", "[git_theta_more]\nx = y\n[console_scripts]\ngit_theta = o:m")
    lay(second, "none-1.dist-info", None)
    (second / "old.egg-info").write_text("Name: old\n")
    assert told() == [
        EntryPoint("Theta.A", "main", "a", "2.0"),
        EntryPoint("theta-b", "a", "b:plugin.it", "1.0"),
        EntryPoint("theta-b", "z", "b.z", "1.0"),
    ]
    assert [e.name for e in told("console_scripts")] == ["git_theta"]


def test_comments_blanks_and_other_sections_are_skipped(folders: tuple[Path, Path]) -> None:
    text = (
        "# git_theta\n[x]\nn = 1\n\n [git_theta] \n# c = d\n\n  a  =  b : c [extra] \n[y]\ne = f\n"
    )
    lay(folders[0], "theta_c-1.0.dist-info", text, "theta-c")
    assert [(e.name, e.value) for e in told()] == [("a", "b : c [extra]")]


def test_editable_installs_are_found(folders: tuple[Path, Path]) -> None:
    lay(folders[1], "theta_d.egg-info", "[git_theta]\nmain = d\n", "theta-d")
    lay(folders[1], "theta_e-1.0.dist-info", "[git_theta]\nmain = e\n", "theta-e")
    (folders[1] / "__editable__.theta_e-1.0.pth").write_text("/somewhere/src\n")
    assert [e.value for e in told()] == ["d", "e"]


@pytest.mark.parametrize("entries", ["[git_theta]\nmain = first\n", "[x]\ny = z\n", None])
def test_of_two_distributions_with_one_name_the_first_on_the_path_counts(
    folders: tuple[Path, Path], entries: str | None
) -> None:
    lay(folders[0], "theta_f-3.0.dist-info", entries, "theta-f", "3.0")
    lay(folders[1], "Theta.F-1.0.dist-info", "[git_theta]\nmain = second\n", "Theta.F")
    assert [e.value for e in told()] == (["first"] if entries and "first" in entries else [])


def test_what_is_zipped_is_found_by_importlib(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(folders[0], "theta_g-1.0.dist-info", "[git_theta]\nmain = g\n", "theta-g")
    archive = folders[1] / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("theta_h-1.0.dist-info/METADATA", INFO.format(name="theta-h", version="1"))
        file.writestr("theta_h-1.0.dist-info/entry_points.txt", "[git_theta]\nmain = h\n")
    monkeypatch.setattr(sys, "path", [str(archive), *sys.path])
    assert [e.value for e in told()] == ["g", "h"]
    egg = folders[1] / "theta_i-1.0.egg"
    lay(egg, "EGG-INFO", "[git_theta]\nmain = i\n", "theta-i")
    (egg / "EGG-INFO" / "METADATA").rename(egg / "EGG-INFO" / "PKG-INFO")
    monkeypatch.setattr(sys, "path", [str(egg)])
    assert [e.value for e in told()] == ["i"]


def test_a_finder_of_distributions_is_asked(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(folders[0] / "elsewhere", "theta_j-1.0.dist-info", "[git_theta]\nmain = j\n", "theta-j")

    class Finder(metadata.DistributionFinder):
        def find_distributions(self, context: object = None) -> list[metadata.Distribution]:  # type: ignore[override]
            return [metadata.PathDistribution(folders[0] / "elsewhere/theta_j-1.0.dist-info")]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    assert [e.value for e in told()] == ["j"]


@pytest.mark.parametrize("group", ["git_theta", "console_scripts", "pytest11"])
def test_this_very_environment_is_read_as_importlib_reads_it(group: str) -> None:
    assert told(group)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("git_theta.discovery", discovery),
        ("git_theta.discovery:EntryPoint", EntryPoint),
        (" git_theta.discovery : EntryPoint.load [extra]", EntryPoint.load),
    ],
)
def test_what_an_entry_point_names_is_loaded(value: str, expected: object) -> None:
    assert EntryPoint("d", "n", value, "1").load() is expected


@pytest.mark.parametrize("value", ["", ":attribute", "[extra]"])
def test_an_entry_point_without_a_module_is_an_error(value: str) -> None:
    with pytest.raises(PluginError, match="module"):
        EntryPoint("d", "n", value, "1").load()


def test_asking_plugins_imports_little() -> None:
    script = (
        "import sys; from git_theta.plugins import installed\n"
        "assert 'pytorch' in installed().offers('theta_checkpoint_formats')\n"
        "assert not sys.modules.keys() & {'importlib.metadata', 'email'}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
