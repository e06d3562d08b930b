"""``git theta pull``: as ``git pull``, with all weights fetched before the work tree changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from git_theta.cli.fetch import tell
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.remotes.config import remotes
from git_theta.remotes.fetch import fetch_order
from git_theta.remotes.obtain import lacking, obtain
from git_theta.remotes.versions import in_index, in_trees

EXAMPLES = """Examples:

\b
  git theta pull                     from the branch's remote
  git theta pull origin main
  git theta pull --rebase            options are those of git pull: --option=VALUE
"""


@click.command(epilog=EXAMPLES, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", metavar="[ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def pull(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Pull, after fetching the weights that the pulled commits need.

    Where they cannot be fetched, the branch, the index and the work tree stay as they were.
    ARGUMENTs are handed to git pull.
    """
    named = [argument for argument in arguments if not argument.startswith("-")]
    _git(ctx, ["fetch", "--quiet", *named])
    with Repository() as repository:
        first = [name for name in named[:1] if name in remotes()]
        order = list(dict.fromkeys([*first, *fetch_order()]))
        needs = lacking(repository, in_trees(repository, _fetched_tips()))
        packs = obtain(repository, needs, order)
    if packs:
        click.echo(tell(len(packs), sum(packs.values()), dry_run=False))
    sys.stdout.flush()
    _git(ctx, ["pull", *arguments])
    with Repository() as repository:  # a merge may have mixed both sides into a third version
        obtain(repository, lacking(repository, in_index(repository)), order)


def _git(ctx: click.Context, args: Sequence[str]) -> None:
    """Run git on the user's terminal; where it fails, our exit code is git's."""
    code = subprocess.run(["git", *args]).returncode
    if code:
        ctx.exit(code)


def _fetched_tips() -> list[str]:
    """The commits that git fetched last to be merged."""
    file = Path(run.text("rev-parse", "--git-path", "FETCH_HEAD"))
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    fields = (line.split("\t") for line in lines)
    return [field[0] for field in fields if len(field) > 1 and field[1] != "not-for-merge"]
