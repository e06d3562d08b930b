"""``refs/theta/packs`` on a git remote: what its server has to know about packs, under one ref.

Two kinds of files lie in its tree, in folders named by the first two digits:

- ``packs/aa/NAME``: the Git LFS pointer of a pack that the remote's LFS server has. Servers delete
  objects to which no pointer in the repository leads.
- ``hints/aa/BLOB``: ``pack`` lines as metadata has them, of the metadata with that blob id. Its own
  ones name packs that were replaced before they were ever sent.

The ref only grows: its tip is built upon, and who loses a race fetches the other's tip first. Here
it is no ref, so that no ``git log --all`` shows it; the last tip seen is written down in a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from git_theta.errors import GitError, StoreError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.metadata import PackHint
from git_theta.metadata_fields import print_ranges
from git_theta.remotes.config import remotes
from git_theta.remotes.needs import Need, hinted_packs
from git_theta.storage.lfs.pointer import Pointer, print_pointer

REF = "refs/theta/packs"
"""The ref, on the remote."""

ATTEMPTS = 8
"""How many lost races are tried again."""


def print_hints(hints: Iterable[PackHint]) -> bytes:
    """``pack`` lines of metadata."""
    lines = (f"pack {hint.pack} {hint.nbytes} {print_ranges(hint.items)}\n" for hint in hints)
    return "".join(lines).encode()


class Built(NamedTuple):
    """A commit that is to be the ref's."""

    blobs: dict[str, str]
    """What its tree has beyond the tip's: blobs by their places."""
    tip: str
    """What it is built upon; "" where the remote has no such ref."""
    commit: str


class PacksRef:
    """The ref on one remote."""

    def __init__(self, repository: Repository, remote: str) -> None:
        self._repository, self._remote = repository, remote

    @cached_property
    def _file(self) -> Path:
        """Where the last tip seen is written down: by the place that is pushed to."""
        named = self._remote in remotes()
        url = run.text("remote", "get-url", "--push", "--", self._remote) if named else self._remote
        name = hashlib.sha256(os.fsencode(url)).hexdigest()[:32]
        return self._repository.folder / "theta" / "remotes" / f"{name}.tip"

    def hints(self, blobs: Iterable[str]) -> dict[str, Need]:
        """What was published for metadata, by its blob id; asks the remote.

        Raises
        ------
        GitError
            When the remote cannot be asked.
        """
        names = list(blobs)
        tip = self.fetch() if names else ""
        if not tip:
            return {}
        found = self._repository.objects([f"{tip}:{_place('hints', name)}" for name in names])
        return {
            name: Need("", name, hinted_packs(self._repository.blob(entry[0])))
            for name, entry in zip(names, found, strict=True)
            if entry and entry[1] == "blob"
        }

    def fetch(self) -> str:
        """Fetch the tip; nothing where the remote has none.

        Raises
        ------
        GitError
            When the remote cannot be asked.
        """
        said = run.text("ls-remote", "--", self._remote, REF).split("\t")[0]
        if said and not _whole(said):
            mine = f"{REF}-{os.getpid()}"
            options = ("--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--quiet")
            run.run("-c", "gc.auto=0", "fetch", *options, "--", self._remote, f"+{REF}:{mine}")
            said = run.text("rev-parse", "--verify", mine)
            run.run("update-ref", "-d", mine)
        self._remember(said)
        return said

    def build(
        self, packs: Mapping[str, int], hints: Mapping[str, bytes], *, trusting: bool = True
    ) -> Built:
        """Have a commit whose tree holds the pointers of packs, and hints by blobs of metadata.

        Parameters
        ----------
        packs, hints
            Bytes of the packs, and ``pack`` lines, by their names.
        trusting
            Whether the last tip seen is believed to be the remote's still; else it is asked.

        Raises
        ------
        GitError
            When git cannot write objects, or the remote cannot be asked.
        """
        files = {
            _place("packs", pack): print_pointer(Pointer(pack, size))
            for pack, size in packs.items()
        }
        files |= {_place("hints", blob): lines for blob, lines in hints.items()}
        if not files:
            return Built({}, "", "")
        tip = self._seen() if trusting else self.fetch()
        blobs = dict(zip(files, _write_blobs(list(files.values())), strict=True))
        return Built(blobs, tip, _build(tip, blobs))

    def publish(self, built: Callable[[], Built], *, needed: bool) -> None:
        """Have the remote take what was built.

        A server that does not take the ref is warned about where only pointers are lost by it.

        Parameters
        ----------
        built
            Gives what :meth:`build` gave, or raises what it raised.
        needed
            Whether it has hints, without which metadata cannot be read.

        Raises
        ------
        StoreError
            When what is needed did not get there.
        """
        try:
            self._publish(built())
        except GitError as fault:
            said = f"{self._remote} did not take {REF}: {fault}"
            if needed:
                raise StoreError(
                    f"{said}\nWithout it nobody finds the packs that replaced older ones",
                    remedy="Push again; if that does not help, allow the ref on the server",
                ) from fault
            _warn(said, "The packs are there; the server may take them for garbage one day")

    def _publish(self, built: Built) -> None:
        """Push a commit; build it anew where another push was faster."""
        blobs, tip, commit = built
        for attempt in range(ATTEMPTS):
            if commit == tip:
                return
            try:
                self._push(commit)
            except GitError:
                before, tip = tip, self.fetch()
                if tip == before or attempt == ATTEMPTS - 1:
                    raise
                commit = _build(tip, blobs)
            else:
                self._remember(commit)
                return

    def _push(self, commit: str) -> None:
        options = ("--no-verify", "--porcelain", "--quiet", "--recurse-submodules=no")
        config = ("-c", "push.followTags=false", "-c", "push.gpgSign=false")
        run.run(*config, "push", *options, "--", self._remote, f"{commit}:{REF}")

    def _seen(self) -> str:
        """The last tip seen, if all of it is still here."""
        with contextlib.suppress(OSError):
            tip = self._file.read_text().strip()
            if tip and _whole(tip):
                return tip
        return ""

    def _remember(self, tip: str) -> None:
        with contextlib.suppress(OSError):  # then it is fetched again
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(f"{tip}\n")


def warn_of_deletion(remote: str) -> None:
    """Say that a push is about to delete the ref, as ``git push --mirror`` does."""
    _warn(
        f"This push deletes {REF} on {remote}, so the server may take packs for garbage one day",
        f"Write it again with: git theta push --all {shlex.quote(remote)}",
    )


def _warn(*lines: str) -> None:
    for line in "\n".join(lines).split("\n"):
        print(f"git-theta: warning: {line}", file=sys.stderr)


def _place(kind: str, name: str) -> str:
    return f"{kind}/{name[:2]}/{name}"


def _whole(tip: str) -> bool:
    """Whether a commit and all that it reaches is here: nothing keeps git's gc from taking it."""
    try:
        options = ("--objects", "--quiet", "--missing=allow-promisor", "--end-of-options")
        run.run("rev-list", *options, tip)
    except GitError:
        return False
    return True


def _write_blobs(contents: list[bytes]) -> list[str]:
    """Write blobs, all with one process; gives their ids."""
    commands = (
        b"blob\nmark :%d\ndata %d\n%b\nget-mark :%d\n" % (mark, len(content), content, mark)
        for mark, content in enumerate(contents, 1)
    )
    done = run.text("fast-import", "--quiet", input=b"".join(commands))
    return done.splitlines()


def _build(tip: str, blobs: Mapping[str, str]) -> str:
    """A commit on a tip whose tree holds files as well; the tip where it does already."""
    with tempfile.TemporaryDirectory(prefix="git-theta-") as scratch:
        env = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        run.run("read-tree", *([tip] if tip else ["--empty"]), env=env)
        lines = "".join(f"100644 {oid}\t{path}\n" for path, oid in blobs.items())
        run.run("update-index", "--add", "--index-info", input=lines.encode(), env=env)
        tree = run.text("write-tree", env=env)
    if tip and run.text("rev-parse", f"{tip}^{{tree}}") == tree:
        return tip
    parent = ["-p", tip] if tip else []
    return run.text("commit-tree", tree, *parent, "-m", "Packs of git-theta")
