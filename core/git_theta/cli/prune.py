"""``git theta prune``: free space that a remote's store can give back."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from git_theta.cli import words
from git_theta.git.repository import Repository
from git_theta.human import counted, human_size
from git_theta.progress import progress
from git_theta.remotes.config import check_remote
from git_theta.remotes.fetch import fetch_order
from git_theta.remotes.keep import RECENT, recent_days
from git_theta.remotes.prune import Pruned
from git_theta.remotes.prune import prune as remove

EXAMPLES = f"""Examples:

\b
  git theta prune --dry-run          how much it would free
  git theta prune                    remove what a remote has and nothing here needs
  git theta prune --verify           fetch each pack once more and check it before it goes
  git config {RECENT} 30   keep the versions of thirty days
"""


@click.command(epilog=EXAMPLES)
@click.option(
    "--remote",
    metavar="NAME",
    shell_complete=words.remotes,
    help="Count only on this remote, not on all.",
)
@click.option("--verify", is_flag=True, help="Check that what the remote has is whole.")
@click.option("--dry-run", "-n", is_flag=True, help="Only tell what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prune(remote: str | None, verify: bool, dry_run: bool, as_json: bool) -> None:
    """Remove packs that a remote has, and that nothing here needs.

    What work trees have checked out or added stays, commits of the last ten days, commits
    that are not pushed, stashes; and every pack of which no remote said just now that it has it.
    Whatever needs a pack again fetches it.
    """
    if remote is not None:
        check_remote(remote)
    with Repository() as repository:
        total = sum(_bytes(repository)) if verify else 0
        with progress("Verifying", total) as advance:
            done = remove(
                repository,
                [remote] if remote else fetch_order(),
                days=recent_days(),
                verify=verify,
                dry_run=dry_run,
                advance=advance,
            )
    if as_json:
        click.echo(json.dumps(_row(done, dry_run=dry_run), indent=2))
        return
    for name, fault in done.faults.items():
        click.echo(f"warning: {name} could not be asked: {fault}", err=True)
    for pack in done.damaged:
        click.echo(f"warning: what the remote has of pack {pack} is damaged", err=True)
    click.echo(_said(done, dry_run=dry_run))


def _bytes(repository: Repository) -> list[int]:
    packs = repository.store.packs
    return [packs.path(pack).stat().st_size for pack in packs.packs()]


def _row(done: Pruned, *, dry_run: bool) -> dict[str, object]:
    return {
        "removed": done.removed,
        "needed": done.needed,
        "only_here": done.only_here,
        "damaged": done.damaged,
        "faults": done.faults,
        "busy": done.busy,
        "dry_run": dry_run,
    }


def _said(done: Pruned, *, dry_run: bool) -> str:
    verb = "would be removed" if dry_run else "removed"
    lines = [f"{_sum(done.removed)} {verb}"]
    if done.needed:
        lines.append(f"{_sum(done.needed)} stay: needed here")
    if done.only_here:
        lines.append(
            f"{_sum(done.only_here)} stay: no remote has them; git theta push sends what commits "
            "need, git theta gc removes what nothing needs"
        )
    if done.busy:
        lines.append("Another process uses the store; git theta prune again removes the rest")
    return "\n".join(lines)


def _sum(packs: Mapping[str, int]) -> str:
    return f"{counted(len(packs), 'pack')} ({human_size(sum(packs.values()))})"
