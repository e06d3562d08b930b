"""``git theta ls-files``: which files git-theta stores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

from git_theta.cli import words
from git_theta.cli.folders import listed_folders
from git_theta.cli.revision import RevisionCommand
from git_theta.formats.folders import Folder, innermost
from git_theta.git.repository import Repository
from git_theta.git.tracked import Entry, entries, quoted
from git_theta.human import counted, human_size

EXAMPLES = """Examples:

\b
  git theta ls-files              what is in the index
  git theta ls-files v1.0         what a commit has
  git theta ls-files HEAD -- sub  only below a folder
"""


@click.command("ls-files", cls=RevisionCommand, epilog=EXAMPLES)
@click.argument("revision", metavar="[REV]", required=False, shell_complete=words.revisions)
@click.argument("paths", metavar="[-- PATH...]", nargs=-1, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls_files(revision: str | None, paths: tuple[str, ...], as_json: bool) -> None:
    """List the files that git-theta stores below the current folder, with size and format.

    Without REV those in the index. The files of a checkpoint that is a folder stand below a line
    of their own, which adds them up.
    """
    with Repository() as repository:
        found = list(entries(repository, revision, paths))
        folders = listed_folders(revision, repository.top) if found else {}
    lie_in = [innermost(entry.path, folders) for entry in found]
    if as_json:
        rows = [_as_json(*pair) for pair in zip(found, lie_in, strict=True)]
        click.echo(json.dumps(rows, indent=2))
        return
    for line in _lines(found, lie_in, folders):
        click.echo(line)


def _as_json(entry: Entry, folder: str | None) -> dict[str, object]:
    return {
        "path": entry.path,
        "format": entry.head.formats[0][0],
        "bytes": entry.head.nbytes,
        "blake3": entry.head.digest.hex(),
        "blob": entry.oid,
        "checkpoint": entry.path if folder is None else f"{folder or '.'}/",
    }


def _lines(
    found: Sequence[Entry], lie_in: Sequence[str | None], folders: Mapping[str, Folder]
) -> list[str]:
    """A line a file; those of a folder together, behind the folder's own."""
    inside: dict[str, list[Entry]] = {}
    for entry, folder in zip(found, lie_in, strict=True):
        if folder is not None:
            inside.setdefault(folder, []).append(entry)
    rows: list[tuple[int, str, str]] = []
    for entry, folder in zip(found, lie_in, strict=True):
        if folder is None:
            rows.append((entry.head.nbytes, entry.head.formats[0][0], quoted(entry.path)))
            continue
        files = inside.pop(folder, [])
        if files:
            name = f"{quoted(folder or '.')}/ ({counted(len(files), 'file')})"
            rows.append((sum(one.head.nbytes for one in files), folders[folder].format, name))
        rows += [
            (one.head.nbytes, one.head.formats[0][0], f"  {quoted(one.path)}") for one in files
        ]
    width = max((len(row[1]) for row in rows), default=0)
    return [f"{human_size(nbytes):>9}  {format:{width}}  {name}" for nbytes, format, name in rows]
