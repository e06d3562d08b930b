"""``git theta show``: the parameter groups of one version of a file."""

from __future__ import annotations

import json

import click

from git_theta.cli.progress import human_size
from git_theta.errors import GitError
from git_theta.git.repository import Repository
from git_theta.metadata import Metadata, parse

EXAMPLES = """Examples:

\b
  git theta show HEAD:model.pt             a commit's version
  git theta show model.pt                  the version in the index
  git theta show v1:model.pt --json        for scripts
"""


@click.command(epilog=EXAMPLES)
@click.argument("version", metavar="[REV:]PATH")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(version: str, as_json: bool) -> None:
    """Show the parameter groups of a file: dtype, shape, size, digest.

    A PATH after REV: counts from the top of the repository, one without from the current folder.
    """
    name = version if ":" in version else f":./{version}"
    with Repository() as repository:
        found = repository.objects([name])[0]
        if not found or found[1] != "blob":
            raise GitError(
                f"Expected a file in git, found nothing at {version}",
                remedy="git theta ls-files [REV] lists what there is",
            )
        metadata = parse(repository.blob(found[0]), version)
    click.echo(json.dumps(_as_json(metadata), indent=2) if as_json else _as_text(metadata))


def _as_json(metadata: Metadata) -> dict[str, object]:
    return {
        "formats": [name for name, _ in metadata.formats],
        "bytes": metadata.nbytes,
        "blake3": metadata.digest.hex(),
        "skeleton": {"bytes": metadata.skeleton.nbytes, "blake3": metadata.skeleton.digest.hex()},
        "groups": [
            {
                "name": group.name,
                "dtype": group.dtype,
                "shape": list(group.shape),
                "bytes": group.nbytes,
                "blake3": group.digest.hex(),
            }
            for group in metadata.groups
        ],
        "packs": [{"pack": hint.pack, "bytes": hint.nbytes} for hint in metadata.packs],
    }


def _as_text(metadata: Metadata) -> str:
    groups = metadata.groups
    noun = "parameter group" if len(groups) == 1 else "parameter groups"
    head = [
        f"format    {', '.join(name for name, _ in metadata.formats)}",
        f"size      {human_size(metadata.nbytes)} in {len(groups)} {noun}",
        f"blake3    {metadata.digest.hex()}",
    ]
    rows = [
        (
            group.name if group.name.isprintable() else json.dumps(group.name),
            group.dtype,
            "x".join(map(str, group.shape)) or "scalar",
            human_size(group.nbytes),
            group.digest.hex()[:16],
        )
        for group in groups
    ]
    if not rows:
        return "\n".join(head)
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for name, dtype, shape, size, digest in rows:
        left = f"{name:{widths[0]}}  {dtype:{widths[1]}}  {shape:{widths[2]}}"
        lines.append(f"{left}  {size:>{widths[3]}}  {digest}")
    return "\n".join([*head, "", *lines])
