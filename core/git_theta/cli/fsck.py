"""``git theta fsck``: check the store, and that every version in history can be rebuilt."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from git_theta.cli.progress import progress
from git_theta.errors import PackError, ThetaError
from git_theta.git.history import all_metadata
from git_theta.git.repository import Repository
from git_theta.metadata import parse
from git_theta.plugins import installed
from git_theta.smudge import rebuild
from git_theta.storage.local import LocalStore
from git_theta.storage.verify import Problem, verify_packs

EXAMPLES = """Examples:

\b
  git theta fsck            check everything
  git theta fsck --json     for scripts; the exit code tells as well
"""


@click.command(epilog=EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def fsck(ctx: click.Context, as_json: bool) -> None:
    """Check that no pack is damaged and no version of a file lacks one.

    Every pack is decoded and compared with its digests, and everything that branches, tags,
    reflogs and the index refer to is looked up. Exit code 30 when something is wrong.
    """
    with Repository() as repository:
        store = repository.store
        store.rebuild()
        total = sum(store.packs.path(pack).stat().st_size for pack in store.packs.packs())
        with progress("Checking packs", total) as advance:
            problems = list(verify_packs(store, installed(), advance))
        versions = 0
        for path, oid, text in all_metadata(repository):
            versions += 1
            problems += _check(store, path, oid, text)
        packs = len(store.packs.packs())
    if as_json:
        rows = [{"where": problem.where, "what": problem.what} for problem in problems]
        click.echo(json.dumps({"versions": versions, "packs": packs, "problems": rows}, indent=2))
    else:
        for problem in problems:
            click.echo(f"{problem.where}: {problem.what}")
        noun = "problem" if len(problems) == 1 else "problems"
        click.echo(f"{versions} versions of files in {packs} packs: {len(problems)} {noun}")
    ctx.exit(PackError.exit_code if problems else 0)


def _check(store: LocalStore, path: str, oid: str, text: bytes) -> Iterator[Problem]:
    try:
        rebuild(parse(text, path), path, store=store, plugins=installed())
    except ThetaError as fault:
        yield Problem(f"{path} (blob {oid[:12]})", str(fault))
