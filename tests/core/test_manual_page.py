"""The manual page that ``git theta --help`` shows: it says what the commands say of themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from git_theta.cli.commands import COMMANDS, theta

PAGE = Path(__file__).parents[2] / "core/man/git-theta.1"


def plain(page: str) -> str:
    """A page's text without roff's marks."""
    return re.sub(r"\\f[A-Z]", "", page).replace(r"\(aq", "'").replace(r"\-", "-")


def test_the_manual_page_lists_every_command_as_its_help_does():
    listed = dict(re.findall(r"^\.TP\n([a-z][a-z-]+)\n(.+)$", plain(PAGE.read_text("utf-8")), re.M))
    context = click.Context(theta)
    helps = {name: theta.get_command(context, name).help or "" for name in COMMANDS}
    assert listed == {name: " ".join(h.split("\n\n")[0].split()) for name, h in helps.items()}


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_manual_page_is_formatted_without_a_warning():
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", PAGE], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
