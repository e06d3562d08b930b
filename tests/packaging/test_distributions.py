"""What the distributions of this repository look like to those who build and install them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_string
from importlib.metadata import distribution
from pathlib import Path
from tarfile import TarFile
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[2]
FOLDERS = {
    "git-theta": CHECKOUT,
    "git-theta-core": CHECKOUT / "core",
    "theta-flax": CHECKOUT / "plugins/theta-flax",
    "theta-objectstore": CHECKOUT / "plugins/theta-objectstore",
    "theta-pytorch": CHECKOUT / "plugins/theta-pytorch",
    "theta-tensorflow": CHECKOUT / "plugins/theta-tensorflow",
}
PLUGINS = ("theta-flax", "theta-objectstore", "theta-pytorch", "theta-tensorflow")
FRAMEWORKS = {"torch", "tensorflow", "flax", "jax", "obstore"}


def read_pyproject(name: str) -> dict[str, dict[str, object]]:
    return tomllib.loads((FOLDERS[name] / "pyproject.toml").read_text("utf-8"))


def parse_requirements(metadata: str) -> tuple[list[Requirement], list[Requirement]]:
    """The requirements, those without an extra and those with one."""
    lines = message_from_string(metadata).get_all("Requires-Dist", [])
    parsed = [Requirement(line) for line in lines]
    return [r for r in parsed if not r.marker], [r for r in parsed if r.marker]


def read_wheel(file: Path) -> str:
    with ZipFile(file) as wheel:
        name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        return wheel.read(name).decode()


def read_sdist(file: Path) -> str:
    with TarFile.open(file) as sdist:
        member = sdist.extractfile(f"{file.name.removesuffix('.tar.gz')}/PKG-INFO")
        assert member is not None
        return member.read().decode()


def run(*command: str | Path, **variables: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Sdist and wheel of every distribution, as they would be published."""
    out = tmp_path_factory.mktemp("built")

    def build(name: str) -> tuple[Path, Path]:
        run(sys.executable, "-m", "build", "--no-isolation", "-o", out / name, FOLDERS[name])
        (sdist,), (wheel,) = (out / name).glob("*.tar.gz"), (out / name).glob("*.whl")
        return sdist, wheel

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(FOLDERS, pool.map(build, FOLDERS), strict=True))


@pytest.mark.parametrize("name", FOLDERS)
def test_published_files_name_plain_requirements(
    name: str, built: dict[str, tuple[Path, Path]]
) -> None:
    sdist, wheel = built[name]
    of_sdist, of_wheel = (parse_requirements(m) for m in (read_sdist(sdist), read_wheel(wheel)))
    assert of_sdist == of_wheel
    required, extra = of_wheel
    assert not [r for r in required + extra if r.url]
    assert not FRAMEWORKS & {r.name for r in required}
    names = {r.name for r in required}
    if name == "git-theta":
        assert names == set(FOLDERS) - {"git-theta"}
    elif name in PLUGINS:
        assert "git-theta-core" in names
    assert all(str(r.specifier) == "<2,>=1.0" for r in required if r.name in FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_published_files_carry_license_and_readme(
    name: str, built: dict[str, tuple[Path, Path]]
) -> None:
    for metadata in (read_sdist(built[name][0]), read_wheel(built[name][1])):
        message = message_from_string(metadata)
        assert message["License-Expression"] == "Apache-2.0"
        assert message["License-File"] == "LICENSE"
        assert message["Requires-Python"] == ">=3.11"
        assert len(message.get_payload()) > 100


def test_the_root_distribution_has_no_code(built: dict[str, tuple[Path, Path]]) -> None:
    with ZipFile(built["git-theta"][1]) as wheel:
        assert all(".dist-info/" in name for name in wheel.namelist())


def test_kernel_sdist_has_nothing_but_the_kernel(built: dict[str, tuple[Path, Path]]) -> None:
    with TarFile.open(built["git-theta-core"][0]) as sdist:
        tops = {Path(name).parts[1] for name in sdist.getnames() if len(Path(name).parts) > 1}
    tops.discard(".gitignore")  # hatchling's own addition
    files = {"LICENSE", "PKG-INFO", "README.md", "hatch_build.py", "pyproject.toml"}
    assert tops == {*files, "git_theta", "man"}


@pytest.mark.parametrize("compiler", ["cc", "no-such-compiler", "off"])
def test_the_kernel_is_compiled_where_it_can_be(compiler: str, tmp_path: Path) -> None:
    if compiler == "cc" and not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    variables = {"GIT_THETA_COMPILED": "0"} if compiler == "off" else {"CC": compiler}
    command = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path)
    run(*command, FOLDERS["git-theta-core"], **variables)
    (wheel,) = tmp_path.iterdir()
    with ZipFile(wheel) as archive:
        libraries = {name for name in archive.namelist() if name.endswith(".so")}
    assert ("git_theta/compiled/kernels.so" in libraries) == (compiler == "cc")
    assert wheel.name.endswith("-py3-none-any.whl") == (compiler != "cc") == (not libraries)


@pytest.mark.parametrize("name", ["git-theta", *PLUGINS])
def test_a_wheel_from_the_checkout_requires_the_folders_beside_it(
    name: str, tmp_path: Path
) -> None:
    command = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    run(*command, "--no-index", "-w", tmp_path, FOLDERS[name])
    required, _ = parse_requirements(read_wheel(next(tmp_path.glob("*.whl"))))
    siblings = {r.name: r.url for r in required if r.name in FOLDERS}
    assert siblings == {n: f"{FOLDERS[n].as_uri()}/." for n in siblings}
    assert "git-theta-core" in siblings


def test_distributions_agree_on_versions_extras_and_build_hook(
    built: dict[str, tuple[Path, Path]],
) -> None:
    versions = {message_from_string(read_wheel(wheel))["Version"] for _, wheel in built.values()}
    assert len(versions) == 1
    hooks = {
        (FOLDERS[name] / "hatch_build.py").read_text("utf-8")
        for name in FOLDERS
        if name != "git-theta-core"
    }
    assert len(hooks) == 1
    extras = read_pyproject("git-theta")["project"]["optional-dependencies"]
    assert isinstance(extras, dict)
    for name in PLUGINS:
        assert read_pyproject(name)["project"]["optional-dependencies"].items() <= extras.items()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def kernel_and_pytorch(
    built: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An environment that has the kernel, one plugin, and what these require; no framework."""
    folder = tmp_path_factory.mktemp("environment") / "env"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin/python"
    wheels = [built[name][1] for name in ("git-theta-core", "theta-pytorch")]
    command = (sys.executable, "-m", "pip", "--python", python, "install")
    run(*command, "--no-deps", "--no-index", *wheels)
    site = Path(run(python, "-c", "import site; print(site.getsitepackages()[0])").strip())
    required = [r for wheel in wheels for r in parse_requirements(read_wheel(wheel))[0]]
    for name in walk_requirements({r.name for r in required} - set(FOLDERS)):
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            (site / top).symlink_to(str(installed.locate_file(top)))
    return folder


def walk_requirements(names: set[str]) -> Iterator[str]:
    """The distributions of those names and all that they require here."""
    seen: set[str] = set()
    while names:
        name = names.pop()
        yield name
        seen.add(name)
        needed = [Requirement(line) for line in distribution(name).requires or ()]
        needed = [r for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
        names |= {canonicalize_name(r.name) for r in needed} - seen


def test_kernel_and_one_plugin_work_alone(kernel_and_pytorch: Path, tmp_path: Path) -> None:
    path = f"{kernel_and_pytorch / 'bin'}{os.pathsep}{os.environ['PATH']}"
    run("git", "init", "--quiet", tmp_path)
    found = json.loads(run("git", "-C", tmp_path, "theta", "plugins", "--json", PATH=path))
    offers = {d["distribution"]: d["offers"] for d in found["distributions"]}
    assert set(offers) == {"git-theta-core", "theta-pytorch"}
    assert "pytorch" in offers["theta-pytorch"]["theta_checkpoint_formats"]
    assert found["failures"] == found["conflicts"] == []


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man, as git theta --help does")
@pytest.mark.parametrize("question", [("theta", "--help"), ("help", "theta")])
def test_git_finds_the_manual_page_of_an_installation(
    kernel_and_pytorch: Path, question: tuple[str, str]
) -> None:
    path = f"{kernel_and_pytorch / 'bin'}{os.pathsep}{os.environ['PATH']}"
    page = run("git", *question, PATH=path, MANPAGER="cat", MANPATH="")
    assert "version machine learning models with git" in page


def test_every_framework_has_formats() -> None:
    for name in ("theta-flax", "theta-pytorch", "theta-tensorflow"):
        (entry,) = distribution(name).entry_points.select(group="git_theta")
        assert entry.load().theta_checkpoint_formats()
