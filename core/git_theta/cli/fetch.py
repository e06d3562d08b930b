"""``git theta fetch``: get weights from the stores of remotes, without a checkout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import click

from git_theta.cli import words
from git_theta.errors import GitError
from git_theta.git.repository import Repository
from git_theta.human import counted, human_size
from git_theta.remotes.config import check_remote
from git_theta.remotes.fetch import fetch_order
from git_theta.remotes.needs import total
from git_theta.remotes.obtain import lacking, obtain
from git_theta.remotes.versions import (
    Version,
    in_history,
    in_index,
    in_trees,
    pathspecs,
    recent_tips,
)

EXAMPLES = """Examples:

\b
  git theta fetch                        what the files of the index lack
  git theta fetch origin v1.0 main       what a tag and a branch lack, from a remote
  git theta fetch --recent               branches and tags of the last days, too
  git theta fetch --all                  all of history
  git theta fetch --all --include models --exclude '*.ckpt'
"""


@click.command(epilog=EXAMPLES)
@click.argument("remote", required=False, shell_complete=words.remotes)
@click.argument("revisions", metavar="[REV]...", nargs=-1, shell_complete=words.revisions)
@click.option("--all", "everything", is_flag=True, help="All of history.")
@click.option(
    "--recent",
    is_flag=True,
    help="Branches and tags whose last commit is recent, too: 7 days, or theta.recentDays.",
)
@click.option("--include", metavar="PATH", multiple=True, help="Only files below; may be repeated.")
@click.option("--exclude", metavar="PATH", multiple=True, help="No files below; may be repeated.")
@click.option("--dry-run", "-n", is_flag=True, help="Only tell what would be fetched.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, sizes in bytes.")
def fetch(
    remote: str | None,
    revisions: tuple[str, ...],
    everything: bool,
    recent: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fetch weights that the local store lacks, so that checkouts need no network.

    Without REV those of the files in the index. They come from the stores of REMOTE, or of all
    remotes, that of the current branch first. PATHs are taken as by git, from the current folder.
    """
    if (everything or recent) and revisions:
        raise click.UsageError("--all and --recent take no REV")
    order = [check_remote(remote)] if remote else fetch_order()
    paths = pathspecs(include, exclude)
    with Repository() as repository:
        versions = _versions(repository, revisions, paths, everything=everything, recent=recent)
        needs = lacking(repository, versions)
        packs = total(needs)
        if packs and not order:
            raise GitError(
                f"Expected a git remote to fetch {counted(len(packs), 'pack')} from, found none",
                remedy="git remote add NAME URL makes one",
            )
        if not dry_run:
            packs = obtain(repository, needs, order)
    nbytes = sum(packs.values())
    if as_json:
        row = {"versions": len(needs), "packs": sorted(packs), "bytes": nbytes, "dry_run": dry_run}
        click.echo(json.dumps(row, indent=2))
        return
    click.echo(tell(len(packs), nbytes, dry_run=dry_run))


def tell(packs: int, nbytes: int, *, dry_run: bool) -> str:
    """What was fetched, for people."""
    if not packs:
        return "Nothing to fetch: all packs are here"
    verb = "Would fetch" if dry_run else "Fetched"
    return f"{verb} {counted(packs, 'pack')} ({human_size(nbytes)})"


def _versions(
    repository: Repository,
    revisions: Sequence[str],
    paths: Sequence[str],
    *,
    everything: bool,
    recent: bool,
) -> Iterator[Version]:
    if revisions:
        yield from in_trees(repository, revisions, paths)
        return
    yield from in_index(repository, paths)
    if everything:
        yield from in_history(repository, paths)
    elif recent:
        yield from in_trees(repository, recent_tips(), paths)
