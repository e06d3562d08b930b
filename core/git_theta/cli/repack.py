"""``git theta repack``: store the history in fewer bytes, or without chains of updates."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial

import click

from git_theta.allocator import keep_freed_memory
from git_theta.git.history import all_metadata
from git_theta.git.repository import Repository
from git_theta.human import counted, human_size
from git_theta.plugins import installed
from git_theta.progress import progress
from git_theta.repack import Repacked
from git_theta.repack import repack as rewrite
from git_theta.rewrite import Version
from git_theta.storage.local import LocalStore

EXAMPLES = """Examples:

\b
  git theta repack --dry-run   how much it would save
  git theta repack             store everything in fewer bytes
  git theta repack --dense     for speed: no version stands on another
"""


@click.command(epilog=EXAMPLES)
@click.option("--dense", is_flag=True, help="Store every tensor by itself, also for more bytes.")
@click.option("--dry-run", "-n", is_flag=True, help="Only tell what it would give.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def repack(dense: bool, dry_run: bool, as_json: bool) -> None:
    """Rewrite the local store into fewer bytes.

    Everything is stored anew, the oldest version first, each relative to what is most like it in
    all of history. What is in git stays as it is: no metadata changes. The packs are replaced only
    if that takes fewer bytes (or --dense was asked), once all of the new ones are there: it may be
    interrupted at any time. It needs as much space as the new packs take, twice, while it runs.
    """
    keep_freed_memory()
    with Repository() as repository:
        store = repository.store
        found = [(path, oid) for path, oid, _ in all_metadata(repository)]
        versions = [Version(path, partial(repository.blob, oid)) for path, oid in found]
        with progress("Repacking", decoded_bytes(store)) as advance:
            done = rewrite(
                store, installed(), versions, dense=dense, dry_run=dry_run, advance=advance
            )
    if as_json:
        click.echo(json.dumps(asdict(done) | {"dry_run": dry_run}, indent=2))
    else:
        click.echo(said(done, dry_run=dry_run))


def decoded_bytes(store: LocalStore) -> int:
    """Bytes of all buffers that a store holds."""
    return sum(
        nbytes
        for pack in map(store.pack, store.packs.packs() - store.damaged.keys())
        for number in range(len(pack))
        for _, nbytes in pack.payload(number).buffers
    )


def said(done: Repacked, *, dry_run: bool) -> str:
    """What repacking did, for people."""
    before = f"{human_size(done.bytes_before)} in {counted(done.packs_before, 'pack')}"
    after = f"{human_size(done.bytes_after)} in {counted(done.packs_after, 'pack')}"
    stays = ""
    if done.incomplete:
        stays = (
            f"\n{counted(done.incomplete, 'more pack')} cannot be repacked, what they stand on is "
            "not here; git theta fetch --all gets it, git theta fsck tells"
        )
    if not done.changed:
        return f"{counted(done.versions, 'version')} in {before}: nothing to gain{stays}"
    verb = "would become" if dry_run else "became"
    saved = done.bytes_before - done.bytes_after
    gain = f"{human_size(saved)} less" if saved >= 0 else f"{human_size(-saved)} more"
    text = f"{counted(done.versions, 'version')}: {before} {verb} {after}, {gain}"
    if done.left:
        text += (
            f"\n{counted(done.left, 'old pack')} stayed, another process uses the store; "
            "the next git theta repack removes them"
        )
    return text + stays
