"""``git theta show``: the parameter groups of one version of a file, or of a folder's files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click

from git_theta.errors import GitError
from git_theta.git.repository import Repository
from git_theta.git.tracked import entries, quoted
from git_theta.human import counted, human_size
from git_theta.metadata import MAX_BYTES, Group, Metadata, looks_like_metadata, parse

EXAMPLES = """Examples:

\b
  git theta show HEAD:model.pt             a commit's version
  git theta show model.pt                  the version in the index
  git theta show v1:model.pt --json        for scripts
  git theta show v1:saved_model            all files of a checkpoint that is a folder
"""


@click.command(epilog=EXAMPLES)
@click.argument("version", metavar="[REV:]PATH")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(version: str, as_json: bool) -> None:
    """Show the parameter groups of a file: dtype, shape, size, digest.

    A PATH after REV: counts from the top of the repository, one without from the current folder. A
    folder is shown as one checkpoint: the groups of all its files.
    """
    name = version if ":" in version else f":./{version}"
    with Repository() as repository:
        found, metadata = repository.objects([name])[0], None
        if found and found[1] == "blob":
            metadata = _read(repository, version, found[0], found[2])
        files, told = {}, {}
        if metadata is None or _is_unknown(metadata):
            revision, path = _split(repository, version) if ":" in version else ("", version)
            files = _read_folder(repository, version, revision, path)
            told = _tell_unknown(repository, revision, files)
    if metadata:
        why = next(iter(told.values()), "")
        said = _as_json(metadata, why) if as_json else _as_text(metadata, why)
    elif files:
        said = _folder_as_json(files, told) if as_json else _folder_as_text(files, told)
    else:
        raise GitError(
            f"Expected a file in git, found nothing at {version}",
            remedy="git theta ls-files [REV] lists what there is",
        )
    click.echo(json.dumps(said, indent=2) if as_json else said)


def _read(repository: Repository, version: str, oid: str, nbytes: int) -> Metadata:
    text = repository.blob(oid) if nbytes <= MAX_BYTES else b""
    if not looks_like_metadata(text):
        raise GitError(
            f"Expected a file that git-theta stores, found one that git stores as it is: {version}",
            remedy="git theta ls-files [REV] lists what git-theta stores",
        )
    return parse(text.replace(b"\r\n", b"\n"), version)


def _read_folder(
    repository: Repository, version: str, revision: str, path: str
) -> dict[str, Metadata]:
    """What git-theta stores at a path or below it, by path from the top."""
    if ":" not in version:
        listed = entries(repository, None, [f":(literal){version}"])
    else:
        listed = entries(
            repository,
            revision or None,
            [f":(literal){path}"] if path else [],
            everywhere=True,
        )
    return {entry.path: parse(repository.blob(entry.oid), entry.path) for entry in listed}


def _is_unknown(metadata: Metadata) -> bool:
    """Whether no format could read a file when it was added."""
    return metadata.formats[0][0] == "unknown"


def _tell_unknown(
    repository: Repository, revision: str, files: dict[str, Metadata]
) -> dict[str, str]:
    """Why those of the files that are stored as unknown are, by path."""
    unknown = {path: one for path, one in files.items() if _is_unknown(one)}
    if not unknown:
        return {}
    from git_theta.cli.unknown import tell_unknown  # it brings what reads files

    return tell_unknown(repository, revision, unknown)


def _split(repository: Repository, version: str) -> tuple[str, str]:
    """REV and PATH of REV:PATH; a REV may hold colons itself."""
    at = version.index(":")
    while at > 0 and not repository.objects([version[:at] + "^{tree}"])[0]:
        at = version.find(":", at + 1)
    if at < 0:
        revision = version.partition(":")[0]
        raise GitError(
            f"Expected a commit or a tree, found {revision!r}",
            remedy="git log --oneline --all lists commits",
        )
    return version[:at], version[at + 1 :]


def _group_as_json(group: Group) -> dict[str, object]:
    return {
        "name": group.name,
        "dtype": group.dtype,
        "shape": list(group.shape),
        "bytes": group.nbytes,
        "blake3": group.digest.hex(),
    }


def _as_json(metadata: Metadata, why: str) -> dict[str, object]:
    return {
        "formats": [name for name, _ in metadata.formats],
        **_why_unknown(why),
        "bytes": metadata.nbytes,
        "blake3": metadata.digest.hex(),
        "skeleton": {"bytes": metadata.skeleton.nbytes, "blake3": metadata.skeleton.digest.hex()},
        "groups": [_group_as_json(group) for group in metadata.groups],
        "packs": [{"pack": hint.pack, "bytes": hint.nbytes} for hint in metadata.packs],
    }


def _why_unknown(why: str) -> dict[str, str]:
    return {"unknown_because": why} if why else {}


def _folder_as_json(files: dict[str, Metadata], told: dict[str, str]) -> dict[str, object]:
    packs = {hint.pack: hint.nbytes for one in files.values() for hint in one.packs}
    return {
        "formats": _formats(files.values()),
        "bytes": sum(metadata.nbytes for metadata in files.values()),
        "files": [
            {
                "path": path,
                "formats": [name for name, _ in metadata.formats],
                **_why_unknown(told.get(path, "")),
                "bytes": metadata.nbytes,
                "blake3": metadata.digest.hex(),
            }
            for path, metadata in files.items()
        ],
        "groups": [
            {**_group_as_json(group), "file": path}
            for path, metadata in files.items()
            for group in metadata.groups
        ],
        "packs": [{"pack": pack, "bytes": nbytes} for pack, nbytes in sorted(packs.items())],
    }


def _as_text(metadata: Metadata, why: str) -> str:
    head = [
        f"format    {', '.join(name for name, _ in metadata.formats)}",
        f"size      {human_size(metadata.nbytes)} in {_count(len(metadata.groups))}",
        f"blake3    {metadata.digest.hex()}",
        *([f"unknown   {_indented(why, 10)}"] if why else []),
    ]
    rows = _aligned([_row(group) for group in metadata.groups])
    return "\n".join([*head, "", *rows] if rows else head)


def _indented(text: str, width: int) -> str:
    """Lines below one another; what a file may have hidden in them is spelt out."""
    plain = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return "".join(plain).replace("\n", "\n" + " " * width)


def _folder_as_text(files: dict[str, Metadata], told: dict[str, str]) -> str:
    groups = [group for metadata in files.values() for group in metadata.groups]
    nbytes = sum(metadata.nbytes for metadata in files.values())
    lines = [
        f"format    {', '.join(_formats(files.values()))}",
        f"size      {human_size(nbytes)} in {_count(len(groups))} of {counted(len(files), 'file')}",
    ]
    rows = iter(_aligned([_row(group) for group in groups]))
    for path, metadata in files.items():
        lines += ["", f"{quoted(path)}  {human_size(metadata.nbytes)}"]
        lines += [f"  {next(rows)}" for _ in metadata.groups]
        if _is_unknown(metadata):
            lines.append(f"  unknown: {_indented(told.get(path, 'not looked at'), 2)}")
    return "\n".join(lines)


def _formats(files: Iterable[Metadata]) -> list[str]:
    return list(dict.fromkeys(name for one in files for name, _ in one.formats))


def _count(groups: int) -> str:
    return counted(groups, "parameter group")


def _row(group: Group) -> tuple[str, ...]:
    return (
        group.name if group.name.isprintable() else json.dumps(group.name),
        group.dtype,
        "x".join(map(str, group.shape)) or "scalar",
        human_size(group.nbytes),
        group.digest.hex()[:16],
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    lines = []
    for name, dtype, shape, size, digest in rows:
        left = f"{name:{widths[0]}}  {dtype:{widths[1]}}  {shape:{widths[2]}}"
        lines.append(f"{left}  {size:>{widths[3]}}  {digest}")
    return lines
