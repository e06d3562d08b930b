"""``git theta fsck``: check the store, and that every version in history can be rebuilt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import click

from git_theta.cli.progress import progress
from git_theta.errors import PackError, ThetaError
from git_theta.git.history import all_metadata
from git_theta.git.repository import Repository
from git_theta.metadata import parse, parse_head
from git_theta.plugins import installed
from git_theta.smudge import content, rebuild
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
    reflogs and the index refer to is rebuilt in passing and compared with the digest of the whole
    file. Exit code 30 when something is wrong.
    """
    with Repository() as repository:
        store = repository.store
        store.rebuild()
        total = sum(store.packs.path(pack).stat().st_size for pack in store.packs.packs())
        with progress("Checking packs", total) as advance:
            problems = list(verify_packs(store, installed(), advance))
        versions = [(path, oid, _length(text)) for path, oid, text in all_metadata(repository)]
        with progress("Checking versions", sum(length for *_, length in versions)) as advance:
            for path, oid, _ in versions:
                problems += _check(repository, path, oid, advance)
        packs = len(store.packs.packs())
    if as_json:
        rows = [{"where": problem.where, "what": problem.what} for problem in problems]
        click.echo(
            json.dumps({"versions": len(versions), "packs": packs, "problems": rows}, indent=2)
        )
    else:
        for problem in problems:
            click.echo(f"{problem.where}: {problem.what}")
        noun = "problem" if len(problems) == 1 else "problems"
        click.echo(f"{len(versions)} versions of files in {packs} packs: {len(problems)} {noun}")
    ctx.exit(PackError.exit_code if problems else 0)


def _length(text: bytes) -> int:
    head = parse_head(text)
    return head.nbytes if head else 0


def _check(
    repository: Repository, path: str, oid: str, advance: Callable[[int], None]
) -> Iterator[Problem]:
    text = repository.blob(oid).replace(b"\r\n", b"\n")
    try:
        metadata = parse(text, path)
        rebuilt = rebuild(metadata, path, store=repository.store, plugins=installed())
        for _ in content(rebuilt, advance):  # at its end the digest is compared
            pass
        repository.proven.add(text)
    except ThetaError as fault:
        yield Problem(f"{path} (blob {oid[:12]})", str(fault))
