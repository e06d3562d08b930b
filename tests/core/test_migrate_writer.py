"""The pack that a migration writes stays right, whoever reads in it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_theta.crew import Crew, can_fork
from git_theta.migrate.writer import NewObjects


@pytest.mark.skipif(not can_fork(), reason="nothing is forked here")
def test_a_forked_process_may_read_what_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the encoder's do, for versions that a file may resemble."""
    subprocess.run(["git", "init", "--quiet", tmp_path / "repo"], check=True)
    monkeypatch.chdir(tmp_path / "repo")
    texts = [f"{number}\n".encode() * 1000 * number for number in range(1, 30)]
    with NewObjects(tmp_path / "pack", "sha1") as new:
        names = [new.add("blob", text) for text in texts[:10]]

        def read(number: int) -> Iterator[bytes]:
            yield new.read(names[number])

        with Crew(read, 2) as crew:
            asked = [crew.ask(number) for number in range(10)]
            names += [new.add("blob", text) for text in texts[10:]]
            found = [bytes(data) for number in asked for data in crew.results(number)]
        assert found == texts[:10]
        assert [new.read(name) for name in names] == texts
        new.hand_over()
    for name, text in zip(names, texts, strict=True):
        assert subprocess.check_output(["git", "cat-file", "blob", name]) == text
