"""``git theta fsck``: check the store, and that every version in history can be rebuilt."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property

import click

from git_theta.errors import MissingPackError, PackError, ThetaError
from git_theta.git.history import all_metadata
from git_theta.git.repository import Repository
from git_theta.human import counted
from git_theta.metadata import parse, parse_head
from git_theta.plugins import installed
from git_theta.progress import progress
from git_theta.remotes.fetch import fetch_order
from git_theta.remotes.mend import Asked, ask, is_elsewhere, mend, presumed, recorded
from git_theta.remotes.needs import hinted_packs
from git_theta.smudge import content, rebuild
from git_theta.storage.verify import Problem, verify_packs

EXAMPLES = """Examples:

\b
  git theta fsck            check everything
  git theta fsck --remote   ask remotes as well, and mend from them what is damaged here
  git theta fsck --json     for scripts; the exit code tells as well
"""


LACKING = """\
Packs that are not here may never have been fetched: git theta fsck --remote asks remotes for them,
git theta fetch --all gets them. Or copy them into .git/theta/objects from a clone that has them"""
LACKING_AFTER = (
    "No remote that could be asked has these packs: whoever has them runs git theta push --all"
)


@click.command(epilog=EXAMPLES)
@click.option("--remote", is_flag=True, help="Ask remotes, and mend what is damaged from them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def fsck(ctx: click.Context, remote: bool, as_json: bool) -> None:
    """Check that no pack is damaged and no version of a file lacks one.

    Every pack is decoded and compared with its digests, and everything that branches, tags,
    reflogs and the index refer to is rebuilt in passing and compared with the digest of the whole
    file. What was pruned, or never fetched, counts as there if a remote had it when it was last
    asked, or has a branch that needs it; --remote asks now. Exit code 30 when something is wrong.
    """
    mended: set[str] = set()
    with Repository() as repository:
        problems = _check_packs(repository)
        corrupt = [problem.corrupt for problem in problems if problem.corrupt]
        if remote and corrupt:
            mended = mend(repository, corrupt, fetch_order())
            problems = _check_packs(repository)
        asked = ask(repository, fetch_order()) if remote else None
        known = _Known(repository, asked)
        problems += asked.problems if asked else []
        versions = [(path, oid, _length(text)) for path, oid, text in all_metadata(repository)]
        with progress("Checking versions", sum(length for *_, length in versions)) as advance:
            for path, oid, _ in versions:
                problems += _check(repository, path, oid, known, advance)
        packs = len(repository.store.packs.packs())
    elsewhere = len({problem.where for problem in problems if problem.elsewhere})
    problems = [problem for problem in problems if not problem.elsewhere]
    if as_json:
        rows = [{"where": problem.where, "what": problem.what} for problem in problems]
        counts = {"versions": len(versions), "packs": packs, "elsewhere": elsewhere}
        click.echo(json.dumps(counts | {"mended": sorted(mended), "problems": rows}, indent=2))
    else:
        _tell(problems, len(versions), packs, elsewhere, mended, asked=remote)
        if any(problem.lacking for problem in problems):
            click.echo(LACKING_AFTER if remote else LACKING)
    ctx.exit(PackError.exit_code if problems else 0)


class _Known:
    """What is known to lie with remotes, or ought to: asked of them, or as far as one can tell."""

    def __init__(self, repository: Repository, asked: Asked | None) -> None:
        self._repository, self._asked = repository, asked
        self._there = asked.there if asked else recorded(repository)

    def has(self, oid: str, text: bytes) -> bool:
        """Whether remotes have what metadata needs and is not here."""
        fresh = self._asked.moved.get(oid) if self._asked else None
        packs = fresh.packs if fresh else hinted_packs(text)
        if is_elsewhere(packs, self._repository, self._there):
            return True
        return self._asked is None and oid in self._presumed

    @cached_property
    def _presumed(self) -> set[str]:
        return presumed(self._repository)


def _tell(
    problems: Sequence[Problem],
    versions: int,
    packs: int,
    elsewhere: int,
    mended: Collection[str],
    *,
    asked: bool,
) -> None:
    for pack in sorted(mended):
        click.echo(f"pack {pack}: was damaged, and fetched anew")
    for problem in problems:
        click.echo(f"{problem.where}: {problem.what}")
    checked = f"{counted(versions, 'version')} of files in {counted(packs, 'pack')}"
    click.echo(f"{checked}: {counted(len(problems), 'problem')}")
    if elsewhere:
        click.echo(f"{elsewhere} of them only with a remote; git theta fetch --all gets them")
        if not asked:
            click.echo("git theta fsck --remote asks whether it has them")


def _check_packs(repository: Repository) -> list[Problem]:
    """What is wrong with packs; a difference to what is not here is nothing wrong."""
    store = repository.store
    store.rebuild()
    total = sum(store.packs.path(pack).stat().st_size for pack in store.packs.packs())
    with progress("Checking packs", total) as advance:
        found = verify_packs(store, installed(), advance)
        return [problem for problem in found if not problem.elsewhere]


def _length(text: bytes) -> int:
    head = parse_head(text)
    return head.nbytes if head else 0


def _check(
    repository: Repository,
    path: str,
    oid: str,
    known: _Known,
    advance: Callable[[int], None],
) -> Iterator[Problem]:
    text = repository.blob(oid).replace(b"\r\n", b"\n")
    where = f"{path} (blob {oid[:12]})"
    try:
        metadata = parse(text, path)
        rebuilt = rebuild(metadata, path, store=repository.store, plugins=installed())
        for _ in content(rebuilt, advance):  # at its end the digest is compared
            pass
        repository.proven.add(text)
    except ThetaError as fault:  # said without its remedy: the work tree's, or to run this
        said = str(fault).removesuffix(f"\n{fault.remedy}")
        lacks = isinstance(fault, MissingPackError)
        elsewhere = lacks and known.has(oid, text)
        yield Problem(where, said, elsewhere=elsewhere, lacking=lacks and not elsewhere)
