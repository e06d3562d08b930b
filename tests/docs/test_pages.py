"""What the pages name exists: commands, files, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from git_theta.cli.commands import COMMANDS

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for folder in (".", "docs", "docs/*", "core", "plugins/*", "benchmarks")
    for page in CHECKOUT.glob(f"{folder}/*.md")
)


def test_readme_lists_every_command_and_no_other() -> None:
    listed = re.findall(r"^\| `git theta ([\w-]+)` \|", (CHECKOUT / "README.md").read_text(), re.M)
    assert sorted(listed) == sorted(COMMANDS)


def test_every_file_in_architecture_exists() -> None:
    text = (CHECKOUT / "docs/architecture.md").read_text("utf-8")
    named = re.findall(r"`([\w/]+(?:\.py|/))`", text.partition("## From git add")[2])
    assert len(named) > 20
    kernel = CHECKOUT / "core/git_theta"
    assert not [name for name in named if not [*kernel.glob(name), *kernel.glob(f"*/{name}")]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
    local = [target for target in targets if "://" not in target]
    assert not [target for target in local if not (page.parent / target).exists()]
