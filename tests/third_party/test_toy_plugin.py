"""A plugin of somebody else, built, installed and discovered as any user's would be."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from git_theta.plugins import HOOKS

TOY = Path(__file__).parent / "theta-toy"

OFFERED = {
    "theta_checkpoint_formats": "toy toy-parts",
    "theta_serializers": "toy-deflate",
    "theta_update_types": "toy-xor",
    "theta_stores": "toy",
    "theta_merge_strategies": "toy-left-alone",
    "theta_commands": "toy-greet",
}


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    variables = {**os.environ, "PYTHONPATH": str(path or "")}
    variables.pop("GIT_THETA_STRICT_PLUGINS", None)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the toy's wheel is installed."""
    folder = tmp_path_factory.mktemp("toy")
    shutil.copytree(TOY, folder / "source")
    pip = ("-m", "pip", "--disable-pip-version-check")
    build = ("wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder / "wheels")
    run(*pip, *build, folder / "source", cwd=folder)
    (wheel,) = (folder / "wheels").iterdir()
    run(*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel, cwd=folder)
    return folder / "site"


def ask(installed: Path, folder: Path, code: str) -> Any:
    """What Python code prints as JSON in a process that has the plugin."""
    setup = "import json; from git_theta.plugins import installed; p = installed()\n"
    return json.loads(run("-c", setup + code, cwd=folder, path=installed))


def git_theta(installed: Path, folder: Path, *args: str) -> str:
    code = "import sys; from git_theta.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return run("-c", code, *args, cwd=folder, path=installed)


# ---- discovery -----------------------------------------------------------------------------------


def test_plugin_is_discovered_with_all_it_offers(installed: Path, tmp_path: Path) -> None:
    code = """
from git_theta.plugins import HOOKS
found = [p.offers(hook).values() for hook in HOOKS]
toy = [o for offers in found for o in offers if o.plugin.distribution == "theta-toy"]
who = sorted({(o.plugin.name, o.plugin.version) for o in toy})
names = {h: " ".join(o.name for o in toy if o.hook == h) for h in HOOKS}
print(json.dumps([names, who, [str(f) for f in p.failures]]))
"""
    offered, who, failures = ask(installed, tmp_path, code)
    assert offered == OFFERED
    assert who == [["toy", "3.1.4"]]
    assert not [failure for failure in failures if "theta-toy" in failure]


def test_nothing_of_the_plugin_is_there_without_it(tmp_path: Path) -> None:
    code = (
        f"offered = [(h, name) for h, names in {OFFERED}.items() for name in names.split()]\n"
        "print(json.dumps([name for h, name in offered if name in p.offers(h)]))"
    )
    assert ask(tmp_path, tmp_path, code) == []


def test_plugins_command_lists_the_plugin(installed: Path, tmp_path: Path) -> None:
    printed = git_theta(installed, tmp_path, "plugins")
    for word in ("theta-toy", "3.1.4", *" ".join(OFFERED.values()).split()):
        assert word in printed


def test_plugin_passes_the_conformance_kit(installed: Path, tmp_path: Path) -> None:
    shutil.copy(TOY / "conformance.py", tmp_path)
    options = ("-q", "-W", "error", "-p", "no:cacheprovider")
    printed = run("-m", "pytest", *options, "conformance.py", cwd=tmp_path, path=installed)
    assert re.search(r"^[5-9]\d passed", printed, re.M), printed
    assert "skipped" not in printed


# ---- each hook -----------------------------------------------------------------------------------


def test_every_hook_is_offered_and_has_a_test() -> None:
    assert OFFERED.keys() == HOOKS.keys()
    for hook in HOOKS:
        assert f"test_{hook}" in globals(), f"Expected a test named test_{hook}"


def test_theta_checkpoint_formats(installed: Path, tmp_path: Path) -> None:
    code = """
import io
from git_theta.formats.detect import detect
from git_theta.formats.interface import TensorData
from git_theta.source import BytesSource
out = io.BytesIO()
group = TensorData("F32", (2,), BytesSource(bytes(8)))
p.format("toy").write({"bias": group}, None, out)
found = detect(BytesSource(out.getvalue()), "any.name", p)
print(json.dumps([found.formats, [t.name for t in found.layout.tensors]]))
"""
    assert ask(installed, tmp_path, code) == [["toy"], ["bias"]]


def test_theta_checkpoint_formats_of_plugins_are_asked_first(
    installed: Path, tmp_path: Path
) -> None:
    code = "print(json.dumps(list(p.offers('theta_checkpoint_formats'))))"
    names = ask(installed, tmp_path, code)
    assert names.index("toy") < names.index("safetensors")


def test_theta_serializers(installed: Path, tmp_path: Path) -> None:
    code = """
s = p.serializer("toy-deflate")
data = s.encode(bytes(1000), "U8")
print(json.dumps([len(data) < 50, s.decode(data, "U8", 1000) == bytes(1000)]))
"""
    assert ask(installed, tmp_path, code) == [True, True]


def test_theta_update_types(installed: Path, tmp_path: Path) -> None:
    code = """
from git_theta.source import BytesSource
from git_theta.updates.interface import Numbers
new, base = (Numbers(BytesSource(word), "U8", (4,)) for word in (b"news", b"base"))
update = p.update_type("toy-xor").encode(new, [base])
decoded = p.update_type("toy-xor").decode(update, [base.data], "U8", 4)
print(json.dumps(decoded.read(0, 4).decode()))
"""
    assert ask(installed, tmp_path, code) == "news"


def test_theta_stores(installed: Path, tmp_path: Path) -> None:
    code = """
import hashlib, pathlib
store = p.store_type("toy").open(f"toy://{pathlib.Path.cwd()}/packs.db")
file, name = pathlib.Path("file"), hashlib.sha256(b"pack").hexdigest()
file.write_bytes(b"pack")
before = store.missing({name: 4})
store.put({name: file})
store.get({name: pathlib.Path("got")}, {})
found = pathlib.Path("got").read_text()
print(json.dumps([before == {name}, list(store.missing({name: 4})), found]))
"""
    assert ask(installed, tmp_path, code) == [True, [], "pack"]


def test_theta_merge_strategies(installed: Path, tmp_path: Path) -> None:
    code = """
from git_theta.formats.interface import TensorData
from git_theta.source import BytesSource
a, b, c = (TensorData("U8", (1,), BytesSource(x)) for x in (b"a", b"b", b"c"))
merge = p.find("theta_merge_strategies", "toy-left-alone").value.merge
found = [merge(a, b, a), merge(a, a, b), merge(a, b, c), merge(None, a, b)]
print(json.dumps([f and bytes(f.data.read(0, 1)).decode() for f in found]))
"""
    assert ask(installed, tmp_path, code) == ["b", "b", None, None]


def test_theta_commands(installed: Path, tmp_path: Path) -> None:
    assert git_theta(installed, tmp_path, "toy-greet", "Ada") == "Hello Ada, from theta-toy\n"
    assert "toy-greet" in git_theta(installed, tmp_path, "--help")
