"""``git theta du``: logical against stored bytes, by version, by update type, by group."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from git_theta.cli import words
from git_theta.cli.revision import RevisionCommand
from git_theta.errors import MetadataError
from git_theta.git import run
from git_theta.git.history import all_metadata, origins
from git_theta.git.repository import Repository
from git_theta.git.tracked import entries, quoted
from git_theta.human import counted, human_size
from git_theta.metadata import parse
from git_theta.plugins import installed
from git_theta.progress import progress
from git_theta.storage.chain import Key
from git_theta.usage import Ledger, Tallies, Use

EXAMPLES = """Examples:

\b
  git theta du                         the files of the index
  git theta du --all -- model.pt       every version of a file in history
  git theta du HEAD --by group         what each parameter group takes
  git theta du --all --by update       what deltas save
"""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Version:
    """A version that was asked for."""

    path: str
    oid: str
    use: Use | None
    """None: its metadata is not valid."""
    keys: frozenset[Key]
    """The payloads that it is read from."""
    added: int
    """Stored bytes of those that no older version is read from."""
    lacking: tuple[str, ...]


@click.command(cls=RevisionCommand, epilog=EXAMPLES)
@click.argument("revision", metavar="[REV]", required=False, shell_complete=words.revisions)
@click.argument("paths", metavar="[-- PATH...]", nargs=-1, type=click.Path())
@click.option("--all", "everything", is_flag=True, help="Every version in history.")
@click.option(
    "--by",
    type=click.Choice(["version", "update", "group"]),
    default="version",
    show_default=True,
    help="What to show a line for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, sizes in bytes.")
def du(
    revision: str | None, paths: tuple[str, ...], everything: bool, by: str, as_json: bool
) -> None:
    """Show how many bytes files have, and how many bytes of the store they are read from.

    Without REV the files of the index below the current folder; with --all every version that a
    branch, a tag, a reflog or the index reaches, and no REV. ADDED is what a version takes beyond
    all older ones, READS what is read to check it out, COMMIT the first commit that has it.
    """
    with Repository() as repository:
        if everything:
            chosen = _everything(repository, (revision, *paths) if revision else paths)
        else:
            found = entries(repository, revision, paths)
            chosen = [(entry.path, entry.oid) for entry in found]
        ledger = Ledger(repository.store, installed())
        versions = list(_versions(repository, ledger, chosen))
        packs = repository.store.packs
        sizes = [packs.path(pack).stat().st_size for pack in packs.packs()]
    rows = {"version": _by_version, "update": _by_update, "group": _by_group}[by](ledger, versions)
    total = _total(ledger, versions) | {"packs": len(sizes), "pack_bytes": sum(sizes)}
    if as_json:
        click.echo(json.dumps({"by": by, "rows": rows, "total": total}, indent=2))
        return
    for line in _table(by, rows):
        click.echo(line)
    click.echo(_summary(total))
    for version in versions:
        if version.lacking:
            more = f" and {len(version.lacking) - 3} more" if len(version.lacking) > 3 else ""
            names = ", ".join(version.lacking[:3])
            click.echo(f"{quoted(version.path)} ({version.oid[:12]}): lacks {names}{more}")


def _everything(repository: Repository, paths: Sequence[str]) -> list[tuple[str, str]]:
    """Path and id of every version in history, of those files."""
    found = [(path, oid) for path, oid, _ in all_metadata(repository)]
    if not paths:
        return found
    options = ("--objects", "--all", "--reflog", "--full-history")
    listed = run.text("rev-list", *options, "--end-of-options", "--", *paths).splitlines()
    below = {line.partition(" ")[0] for line in listed}
    below |= {entry.oid for entry in entries(repository, None, paths)}
    return [(path, oid) for path, oid in found if oid in below]


def _versions(
    repository: Repository, ledger: Ledger, chosen: Sequence[tuple[str, str]]
) -> Iterator[_Version]:
    """What was asked for, in that order; compared with all versions that are older."""
    seen: set[Key] = set()
    left = {oid for _, oid in chosen}
    found: dict[str, _Version] = {}

    def look(path: str, oid: str, text: bytes) -> None:
        try:
            use = ledger.use(parse(text.replace(b"\r\n", b"\n"), path), path)
        except MetadataError as fault:
            found[oid] = _Version(path, oid, None, frozenset(), 0, (str(fault.args[0]),))
        else:
            keys = frozenset(use.payloads())
            added = ledger.stored(keys - seen)
            seen.update(keys)
            if oid in left:
                found[oid] = _Version(path, oid, use, keys, added, use.lacking)
        left.discard(oid)

    history = all_metadata(repository) if chosen else iter(())
    with progress("Looking through history", len(chosen)) as advance:
        for path, oid, text in history:
            advance(oid in left)
            look(path, oid, text)
            if not left:
                break
        for path, oid in chosen:
            if oid in left:  # of a revision that nothing refers to
                look(path, oid, repository.blob(oid))
    for path, oid in chosen:
        one = found[oid]
        yield one if one.path == path else _Version(path, oid, one.use, one.keys, 0, one.lacking)


def _by_version(ledger: Ledger, versions: Iterable[_Version]) -> list[Row]:
    commits = origins()
    return [
        {
            "path": version.path,
            "blob": version.oid,
            "commit": commits.get(version.oid, (None, None))[0],
            "date": commits.get(version.oid, (None, None))[1],
            "logical": version.use.metadata.nbytes if version.use else 0,
            "added": version.added,
            "reads": ledger.stored(version.keys),
            "lacking": list(version.lacking),
        }
        for version in versions
    ]


def _by_update(ledger: Ledger, versions: Iterable[_Version]) -> list[Row]:
    rows: dict[str, Row] = {}
    keys = {key for version in versions for key in version.keys}
    for key in keys:
        update, _, logical, stored = ledger.costs[key]
        row = rows.setdefault(
            update, {"update": update, "payloads": 0, "logical": 0, "stored": 0, "share": 0.0}
        )
        row["payloads"] += 1
        row["logical"] += logical
        row["stored"] += stored
    total = ledger.stored(keys)
    for row in rows.values():
        row["share"] = row["stored"] / total if total else 0.0
    return sorted(rows.values(), key=lambda row: (-row["stored"], row["update"]))


def _by_group(ledger: Ledger, versions: Iterable[_Version]) -> list[Row]:
    paths: dict[str, Tallies] = {}
    for version in versions:
        if version.use:
            paths.setdefault(version.path, Tallies(ledger)).add(version.use)
    return [
        {
            "path": path,
            "kind": tally.kind,
            "name": tally.name,
            "dtype": tally.dtype,
            "shape": list(tally.shape),
            "values": tally.values,
            "logical": tally.logical,
            "stored": tally.stored,
            "reads": tally.reads,
            "depth": tally.depth,
            "updates": list(tally.updates),
        }
        for path, tallies in sorted(paths.items())
        for tally in tallies.sorted()
    ]


def _total(ledger: Ledger, versions: Sequence[_Version]) -> Row:
    logical = sum(version.use.metadata.nbytes for version in versions if version.use)
    stored = ledger.stored({key for version in versions for key in version.keys})
    return {"versions": len(versions), "logical": logical, "stored": stored}


def _summary(total: Row) -> str:
    versions, packs = total["versions"], total["packs"]
    share = f" ({100 * total['stored'] / total['logical']:.1f}%)" if total["logical"] else ""
    return (
        f"{counted(versions, 'version')}: "
        f"{human_size(total['logical'])} read from {human_size(total['stored'])}{share}; the store "
        f"has {human_size(total['pack_bytes'])} in {counted(packs, 'pack')}"
    )


COLUMNS = {
    "version": ("LOGICAL", "ADDED", "READS", "COMMIT", "DATE", "PATH"),
    "update": ("LOGICAL", "STORED", "SHARE", "PAYLOADS", "UPDATE"),
    "group": ("LOGICAL", "STORED", "READS", "DEPTH", "UPDATE", "DTYPE", "SHAPE", "GROUP"),
}
NUMBERS = {"LOGICAL", "ADDED", "STORED", "READS", "SHARE", "PAYLOADS", "DEPTH"}


def _table(by: str, rows: Sequence[Row]) -> Iterator[str]:
    """The rows as columns for people; nothing where there are none."""
    if not rows:
        return
    several = by == "group" and len({row["path"] for row in rows}) > 1
    header = (*COLUMNS[by], "PATH") if several else COLUMNS[by]
    cells = [header, *([_cell(row, name, by) for name in header] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(header))]
    for line in cells:
        columns = [
            cell.rjust(width) if name in NUMBERS else cell.ljust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        ]
        yield "  ".join(columns).rstrip()


def _cell(row: Row, name: str, by: str) -> str:
    value = row.get(name.lower())
    if name == "SHARE":
        return f"{100 * row['share']:.1f}%"
    if name in ("DEPTH", "PAYLOADS"):
        return str(value)
    if name in NUMBERS:
        return human_size(int(row[name.lower()]))
    if name == "COMMIT":
        return str(value or "-")[:12]
    if name == "DATE":
        return str(value or "-")
    if name == "PATH":
        return quoted(str(value))
    if name == "UPDATE" and by == "group":
        return ", ".join(row["updates"])
    if name == "SHAPE":
        return "x".join(map(str, row["shape"])) or ("scalar" if row["kind"] == "group" else "")
    if name == "GROUP":
        shown = row["name"] if row["name"].isprintable() else json.dumps(row["name"])
        return {"skeleton": "(skeleton)", "buffer": f"(buffer) {shown}".rstrip()}.get(
            row["kind"], shown
        )
    return str(value)
