"""The packs of a Git LFS server: asks, sends and fetches, one command of git-lfs for all packs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

from git_theta.errors import MissingPackError, PackError, StoreError
from git_theta.storage.folder import check_pack_name, sha256
from git_theta.storage.interface import Advance, Store, unwatched
from git_theta.storage.lfs.command import Answer, Progress, git_lfs, without_secrets
from git_theta.storage.lfs.endpoint import Endpoint
from git_theta.storage.lfs.scratch import Scratch, scratch

Value = TypeVar("Value")

_PAUSES = (1.0, 4.0)
"""Seconds before git-lfs is started again, where it gave up and another try may help."""

_CONFIG = {
    "lfs.fetchrecentalways": "false",
    "lfs.skipdownloaderrors": "false",
    "lfs.allowincompletepush": "false",
}
"""Settings with which git-lfs would do more than it was asked for, or hide what failed."""


class LfsStore(Store):
    """Packs as objects of a Git LFS server.

    Servers check nothing: what is sent is checked before, what is fetched afterwards.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._temporary = endpoint.folder / "theta" / "tmp"

    def missing(self, packs: Mapping[str, int]) -> set[str]:
        """Those of ``packs`` that the server does not have: one request for a hundred."""
        return packs.keys() - self._ask(_checked(packs))[0]

    def lost(self, packs: Mapping[str, int]) -> set[str]:
        """Those of ``packs`` that the server says it does not have."""
        return self._ask(_checked(packs))[1]

    def put(self, packs: Mapping[str, Path], advance: Advance = unwatched) -> None:
        """Send what is missing, eight packs at a time: git-lfs and the server agree on what.

        An agent that stands alone is given all of it, and need not tell how far it is.
        """
        sizes = {pack: _nbytes(packs[pack], pack) for pack in sorted(_checked(packs))}
        if not sizes:
            return

        @cache
        def verified() -> bytes:
            _verify(packs)
            return "".join(f"{pack}\n" for pack in sizes).encode()

        progress = Progress(sizes, advance)
        with scratch(self._temporary) as folder:
            for pack in sizes:
                folder.place(pack, packs[pack])
            args = ("push", "--object-id", "--stdin", self.endpoint.remote)
            for _ in _attempts():
                answer = self._run(folder, *args, input=verified, progress=progress)
                if not answer.temporary:
                    break
        if answer.code:
            raise answer.error(f"Cannot send {_count(sizes)} to the {self._name}")
        told = progress.complete and not self.endpoint.has_agent
        progress.settle(None if told else sizes)

    def get(
        self, packs: Mapping[str, Path], sizes: Mapping[str, int], advance: Advance = unwatched
    ) -> None:
        """Fetch packs, eight at a time; halves of packs are kept, and gone on with next time."""
        wanted = _checked({pack: _size(sizes, pack) for pack in packs})
        if not wanted:
            return
        with scratch(next(iter(packs.values())).parent) as folder:
            folder.keep_unfinished(self._temporary / "lfs-incomplete")
            progress = Progress(wanted, advance)
            left, bad = dict(wanted), set[str]()

            def take() -> None:
                """Take what has arrived at once, so that it stays if this process is killed."""
                for pack in [pack for pack in left if folder.object(pack).is_file()]:
                    if pack in bad:
                        continue
                    if sha256(folder.object(pack)) == pack:
                        _move(folder.object(pack), packs[pack])
                        progress.settle([pack])
                        del left[pack]
                    else:
                        bad.add(pack)

            progress.look = take
            for _ in _attempts():
                answer = self._fetch(folder, dict(left), progress=progress)
                sent = answer.other_bytes
                # An answer that ends too early and never told its length looks like other bytes.
                bad |= {pack for pack in left.keys() & sent.keys() if sent[pack] >= left[pack]}
                lacking = left.keys() - bad
                if not lacking or not (answer.temporary or lacking & sent.keys()):
                    break
        if left.keys() - bad:
            raise self._not_fetched(answer, left.keys() - bad)
        if bad:
            raise PackError(
                f"Expected {_count(bad)} from the {self._name}, found other bytes",
                remedy="Have it deleted there, then send it again from a clone that has it: "
                "git theta push --all",
            )

    @property
    def _name(self) -> str:
        where = without_secrets(f"{self.endpoint.remote} ({self.endpoint.url})")
        return f"LFS server of {where}"

    def _ask(self, sizes: Mapping[str, int]) -> tuple[set[str], set[str]]:
        """Packs that are there, and packs that are not; nobody knows about the rest.

        git-lfs has no command that asks. One that fetches asks first, and fails for all that the
        server would send where it finds no place to write to. An agent that stands alone cannot
        be asked anything: it must fetch.
        """
        if not sizes:
            return set(), set()
        with scratch(self._temporary) as folder:
            if not self.endpoint.has_agent:
                folder.refuse_downloads()
            basic = {} if self.endpoint.has_agent else {"lfs.basictransfersonly": "true"}
            for _ in _attempts():
                answer = self._fetch(folder, sizes, basic)
                if not answer.temporary:
                    break
            arrived = {pack for pack in sizes if folder.object(pack).is_file()}
        there = answer.refused & sizes.keys()
        if self.endpoint.has_agent:
            there, arrived = arrived, set()
        lacking = answer.lacking & sizes.keys() - there
        if self.endpoint.has_agent:
            lacking |= answer.failed & sizes.keys() - there
        left = sizes.keys() - there - lacking - arrived
        if left and answer.found_nothing:
            lacking |= left
        elif left:
            raise answer.error(f"Cannot ask the {self._name} for {_count(left)}")
        return there, lacking

    def _fetch(
        self,
        folder: Scratch,
        sizes: Mapping[str, int],
        config: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Answer:
        tree, env = folder.tree(sizes, self.endpoint.objects)
        # Empty filters: with lfs.fetchinclude set git-lfs would fetch nothing and call it success.
        args = ("fetch", "--include=", "--exclude=", self.endpoint.remote, tree)
        return self._run(folder, *args, config=config, env=env, progress=progress)

    def _run(
        self,
        folder: Scratch,
        *args: str,
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        input: Callable[[], bytes] = bytes,
        progress: Progress | None = None,
    ) -> Answer:
        settings = {"lfs.storage": str(folder.folder), **_CONFIG, **(config or {})}
        return git_lfs(*args, config=settings, env=env or {}, input=input, progress=progress)

    def _not_fetched(self, answer: Answer, left: set[str]) -> StoreError | MissingPackError:
        fault = answer.error(f"Cannot fetch {_count(left)} from the {self._name}")
        lacking = answer.lacking | (answer.failed if self.endpoint.has_agent else set())
        if left <= lacking or answer.found_nothing or not answer.code:
            return MissingPackError(
                f"The {self._name} does not have {_count(left)}",
                remedy="Push them from a clone that has them: git theta push --all",
            )
        return fault


def _verify(packs: Mapping[str, Path]) -> None:
    """Check on all cores that files are the packs that they shall be sent as."""
    with ThreadPoolExecutor() as pool:
        for pack, found in zip(packs, pool.map(sha256, packs.values()), strict=True):
            if found != pack:
                raise PackError(f"Expected pack {pack} at {packs[pack]}, found SHA-256 {found}")


def _attempts() -> Iterator[None]:
    yield
    for pause in _PAUSES:
        time.sleep(pause)
        yield


def _checked(packs: Mapping[str, Value]) -> Mapping[str, Value]:
    for pack in packs:
        check_pack_name(pack)
    return packs


def _size(sizes: Mapping[str, int], pack: str) -> int:
    if pack not in sizes:
        raise StoreError(f"Expected the size of pack {pack}, found none")
    return sizes[pack]


def _nbytes(file: Path, pack: str) -> int:
    try:
        return file.stat().st_size
    except OSError as fault:
        raise StoreError(f"Expected pack {pack} at {file}: {fault}") from fault


def _count(packs: Collection[str]) -> str:
    """A few packs by name, many by number."""
    if len(packs) == 1:
        return f"pack {min(packs)}"
    names = ", ".join(pack[:12] for pack in sorted(packs)[:3])
    return f"{len(packs)} packs ({names}{', ...' if len(packs) > 3 else ''})"


def _move(source: Path, target: Path) -> None:
    try:
        shutil.move(source, target)
    except OSError as fault:
        target.unlink(missing_ok=True)
        raise StoreError(f"Cannot write {target}: {fault}") from fault
