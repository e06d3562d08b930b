"""Commits and annotated tags as bytes: their names of other objects change, and nothing else.

Author, dates, encoding, message and headers that we never heard of stay as they are. A signature is
of the bytes, so one whose commit or tag changed is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from git_theta.errors import GitError

_HEADER = re.compile(rb"[^\n]+\n(?: [^\n]*\n)*")
_SIGNED = (b"gpgsig ", b"gpgsig-sha256 ", b"mergetag ")
_SIGNATURE = re.compile(
    rb"^-----BEGIN (?:PGP SIGNATURE|PGP MESSAGE|SIGNED MESSAGE|SSH SIGNATURE)-----\r?$.*",
    re.MULTILINE | re.DOTALL,
)


class Commit(NamedTuple):
    """What a commit refers to."""

    tree: str
    parents: tuple[str, ...]


class Tag(NamedTuple):
    """What an annotated tag refers to."""

    oid: str
    kind: str


class Rewritten(NamedTuple):
    """A commit or a tag with other references."""

    data: bytes
    was_signed: bool
    """Whether a signature was left out."""


def parse_commit(data: bytes) -> Commit:
    """What a commit refers to.

    Raises
    ------
    GitError
        When it has no tree.
    """
    fields = [line.partition(b" ")[::2] for line in _headers(data)]
    trees = [_name(value) for key, value in fields if key == b"tree"]
    if not trees:
        raise GitError("Expected a commit, found one without a tree")
    return Commit(trees[0], tuple(_name(value) for key, value in fields if key == b"parent"))


def parse_tag(data: bytes) -> Tag:
    """What an annotated tag refers to.

    Raises
    ------
    GitError
        When it names no object.
    """
    fields = dict(line.partition(b" ")[::2] for line in _headers(data))
    if b"object" not in fields or b"type" not in fields:
        raise GitError("Expected a tag, found one without an object")
    return Tag(_name(fields[b"object"]), _name(fields[b"type"]))


def rewrite_commit(data: bytes, tree: str, renamed: Callable[[str], str]) -> Rewritten:
    """A commit with another tree; ``renamed`` gives the new name of each parent."""
    headers, signed = [], False
    found = _headers(data)
    for line in found:
        key, _, value = line.partition(b" ")
        if line.startswith(_SIGNED):
            signed = True
            continue
        if key == b"tree":
            line = b"tree " + tree.encode() + b"\n"
        elif key == b"parent":
            line = b"parent " + renamed(_name(value)).encode() + b"\n"
        headers.append(line)
    return Rewritten(b"".join(headers) + data[_length(found) :], signed)


def rewrite_tag(data: bytes, oid: str) -> Rewritten:
    """A tag of another object of the same type."""
    found = _headers(data)
    kept = [line for line in found if not line.startswith(_SIGNED)]
    headers = [
        b"object " + oid.encode() + b"\n" if line.startswith(b"object ") else line for line in kept
    ]
    message = data[_length(found) :]
    unsigned = _SIGNATURE.sub(b"", message)
    return Rewritten(b"".join(headers) + unsigned, unsigned != message or len(kept) != len(found))


def _headers(data: bytes) -> list[bytes]:
    """The lines before the message, each with those that continue it."""
    end = data.find(b"\n\n")
    return _HEADER.findall(data if end < 0 else data[: end + 1])


def _length(headers: Sequence[bytes]) -> int:
    return sum(map(len, headers))


def _name(value: bytes) -> str:
    return value.strip().decode("ascii", "replace")
