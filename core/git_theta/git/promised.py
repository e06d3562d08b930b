"""Metadata that a partial clone left at its remote: fetched in one go, before it is looked at.

git fetches a blob that it lacks when it is read, one at a time. Here only blobs at paths that
git-theta stores are fetched, whatever else the history holds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from git_theta.git import run
from git_theta.git.tracked import has_filter


def fetch_promised(
    revisions: Sequence[str], paths: Sequence[str] = (), *, trees: bool = False
) -> None:
    """Have git fetch the metadata that commits or trees reach and that a partial clone lacks.

    Parameters
    ----------
    revisions
        Commits, or options of ``git rev-list`` that name them; or ids of trees.
    paths
        git's pathspecs, from the current folder; none: everything.
    trees
        Whether ``revisions`` are trees.

    Raises
    ------
    GitError
        When the remote cannot be asked.
    """
    remote = promisor()
    if not remote:
        return
    # This first: of a clone without trees it has git fetch those.
    listed_at = _in_trees(revisions) if trees else _changed(revisions, paths)
    options = ("--objects", "--missing=print", "--no-object-names")
    listed = run.text("rev-list", *options, *revisions, "--", *paths).split("\n")
    absent = {line[1:] for line in listed if line.startswith("?")}
    found = {oid: path for oid, path in listed_at if oid in absent}
    stored = has_filter(list(dict.fromkeys(found.values())), cwd=_top())
    wanted = [oid for oid, path in found.items() if path in stored]
    if wanted:
        plain = ("--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--quiet")
        lines = "".join(f"{oid}\n" for oid in wanted).encode()
        config = ("-c", "fetch.negotiationAlgorithm=noop")  # as git itself does it
        run.run(*config, "fetch", *plain, "--filter=blob:none", "--stdin", remote, input=lines)


def promisor() -> str:
    """The remote that a partial clone left objects at; nothing in a full one."""
    pattern = r"^remote\..*\.promisor$"
    said = run.run("config", "-z", "--type=bool", "--get-regexp", pattern, ok=(0, 1))
    for entry in os.fsdecode(said).split("\0")[:-1]:
        key, _, value = entry.partition("\n")
        if value == "true":
            return key.removeprefix("remote.").removesuffix(".promisor")
    return ""


def _changed(revisions: Sequence[str], paths: Sequence[str]) -> list[tuple[str, str]]:
    """Blobs that commits put at paths: id, path. Nobody looks into them."""
    options = ("--raw", "-z", "--no-abbrev", "--no-renames", "--format=", "-m", "--root")
    answer = run.run("log", *options, *revisions, "--", *paths)
    fields = answer.split(b"\0")
    found = []
    for change, path in zip(fields[0::2], fields[1::2], strict=False):
        new = change.lstrip(b"\n").split(b" ")[3]
        if new.strip(b"0"):
            found.append((new.decode(), os.fsdecode(path)))
    return found


def _in_trees(trees: Sequence[str]) -> list[tuple[str, str]]:
    """All files of trees: id, path."""
    found = []
    for tree in trees:
        for line in run.run("ls-tree", "-r", "-z", "--full-tree", tree).split(b"\0")[:-1]:
            fields, _, path = line.partition(b"\t")
            found.append((fields.split(b" ")[2].decode(), os.fsdecode(path)))
    return found


def _top() -> str | None:
    """The top of the work tree, from where attributes are asked for; None in a bare repository."""
    inside = run.text("rev-parse", "--is-inside-work-tree", ok=(0, 128)) == "true"
    return run.text("rev-parse", "--show-toplevel") if inside else None
