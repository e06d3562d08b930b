"""``git theta ls-files``: which files git-theta stores."""

from __future__ import annotations

import json

import click

from git_theta.cli.progress import human_size
from git_theta.cli.revision import RevisionCommand
from git_theta.git.repository import Repository
from git_theta.git.tracked import entries, quoted

EXAMPLES = """Examples:

\b
  git theta ls-files              what is in the index
  git theta ls-files v1.0         what a commit has
  git theta ls-files HEAD -- sub  only below a folder
"""


@click.command("ls-files", cls=RevisionCommand, epilog=EXAMPLES)
@click.argument("revision", metavar="[REV]", required=False)
@click.argument("paths", metavar="[-- PATH...]", nargs=-1, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls_files(revision: str | None, paths: tuple[str, ...], as_json: bool) -> None:
    """List the files that git-theta stores below the current folder, with size and format.

    Without REV those in the index.
    """
    with Repository() as repository:
        found = list(entries(repository, revision, paths))
    if as_json:
        rows = [
            {
                "path": entry.path,
                "format": entry.head.formats[0][0],
                "bytes": entry.head.nbytes,
                "blake3": entry.head.digest.hex(),
                "blob": entry.oid,
            }
            for entry in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(entry.head.formats[0][0]) for entry in found), default=0)
    for path, _, _, head in found:
        click.echo(f"{human_size(head.nbytes):>9}  {head.formats[0][0]:{width}}  {quoted(path)}")
