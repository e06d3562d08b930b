"""``git theta gc``: store the history in fewer bytes, and remove what nothing needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from git_theta.cli.repack import decoded_bytes, said
from git_theta.garbage import Unreferenced, expiry, sweep
from git_theta.git.history import all_metadata
from git_theta.git.repository import Repository
from git_theta.git.store_folder import others
from git_theta.human import human_size
from git_theta.plugins import installed
from git_theta.progress import progress
from git_theta.repack import repack
from git_theta.rewrite import Version

EXAMPLES = """Examples:

\b
  git theta gc --dry-run    how much it would free
  git theta gc              tidy up
  git theta gc --prune now  also what was added a moment ago and is in no commit
"""

WORTH = 0.05
"""The share of a store that repacking must save: the next push sends what it needs of new packs."""


@click.command(epilog=EXAMPLES)
@click.option("--prune", metavar="DATE", help="Remove garbage that is older (2.weeks.ago, never).")
@click.option("--dry-run", "-n", is_flag=True, help="Only tell what it would give.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def gc(prune: str | None, dry_run: bool, as_json: bool) -> None:
    """Repack the local store where that saves a twentieth of it, and remove garbage from it.

    The next push sends what it needs of packs that were written anew. Garbage is what killed
    commands left behind, and what no branch, tag, reflog or index refers to. It stays for two
    weeks, or as git's gc.pruneExpire says. Of a store that other repositories share only leftovers
    go: they may need what this one does not. So it is where a version cannot be read here, as of a
    newer git-theta.
    """
    left: list[tuple[Path, int]] = []
    with Repository() as repository:
        before = expiry(prune)
        sweep(repository, before, lambda path, nbytes: left.append((path, nbytes)), dry_run=dry_run)
        sharing = others(repository.store.folder, repository.folder)
        garbage = Unreferenced(repository, before)
        found = [(path, oid) for path, oid, _ in all_metadata(repository)]
        versions = [Version(path, partial(repository.blob, oid)) for path, oid in found]
        with progress("Repacking", decoded_bytes(repository.store)) as advance:
            done = repack(
                repository.store,
                installed(),
                versions,
                dry_run=dry_run,
                garbage=None if sharing else garbage,
                least=WORTH,
                advance=advance,
            )
    for blob, fault in garbage.unread.items():
        said_of = f"what no version refers to stays, since blob {blob} cannot be read"
        click.echo(f"warning: {said_of}: {fault}", err=True)
    nbytes = sum(size for _, size in left)
    if as_json:
        row = {"leftovers": len(left), "leftover_bytes": nbytes, "dry_run": dry_run}
        click.echo(json.dumps(asdict(done) | row, indent=2))
        return
    click.echo(said(done, dry_run=dry_run))
    if left:
        verb = "would be removed" if dry_run else "removed"
        click.echo(f"{len(left)} files of killed commands ({human_size(nbytes)}) {verb}")
