"""Packs in an object store, each an object under its name, beside each other under a prefix.

That is what a folder of packs looks like too, so a ``file://`` store can be copied into a bucket.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from git_theta.errors import MissingPackError, PackError, StoreError
from git_theta.storage.interface import Advance, Store, unwatched
from theta_objectstore.types import first_line

PART = 8 * 2**20
"""Bytes of one request; larger packs are sent in parts, where the store takes them."""

PARTS_AT_ONCE = 4
"""Parts of one pack that are under way."""

PUTS_AT_ONCE = 3
"""Packs that are sent at a time: with their parts no more than 100 MiB of memory."""

GETS_AT_ONCE = 8
"""Packs that are fetched at a time, a few MiB of memory each."""

ASKED_AT_ONCE = 32
"""Packs that are asked for at a time."""

WHOLE = 256 * 2**20
"""Bytes of the largest pack that is sent as a whole, and then lies in memory."""

TRIES = 5
"""How often a download goes on where it broke off, on top of obstore's own attempts."""

_PACK = re.compile(r"[0-9a-f]{64}")


class ObjectStore(Store):
    """Packs as objects."""

    def __init__(self, url: str, backend: Any, *, in_parts: bool) -> None:
        self._url, self._backend, self._in_parts = url, backend, in_parts

    def missing(self, packs: Mapping[str, int]) -> set[str]:
        """Those of ``packs`` that are not there, or are of another size; one request each."""
        _check(packs)
        jobs = [partial(self._lacks, pack, nbytes) for pack, nbytes in packs.items()]
        return {pack for pack in _all(jobs, ASKED_AT_ONCE) if pack}

    def put(self, packs: Mapping[str, Path], advance: Advance = unwatched) -> None:
        """Send what is missing, verified before; in parts when it is large."""
        _check(packs)
        missing = self.missing({pack: _nbytes(pack, file) for pack, file in packs.items()})
        jobs = [partial(self._put, pack, packs[pack], advance) for pack in sorted(missing)]
        _all(jobs, PUTS_AT_ONCE if self._in_parts else 1)

    def get(
        self, packs: Mapping[str, Path], sizes: Mapping[str, int], advance: Advance = unwatched
    ) -> None:
        """Fetch packs; a download that breaks off goes on where it was."""
        _check(packs)
        jobs = [partial(self._get, pack, file, advance) for pack, file in packs.items()]
        _all(jobs, GETS_AT_ONCE)

    def _lacks(self, pack: str, nbytes: int) -> str:
        try:
            with self._faults(f"asked for pack {pack}"):
                found: int = obstore.head(self._backend, pack)["size"]
        except FileNotFoundError:
            return pack
        return "" if found == nbytes else pack

    def _put(self, pack: str, file: Path, advance: Advance) -> None:
        with file.open("rb") as content:
            if (found := hashlib.file_digest(content, "sha256").hexdigest()) != pack:
                raise PackError(f"Expected pack {pack} at {file}, found SHA-256 {found}")
            nbytes = content.tell()
            content.seek(0)
            if nbytes > WHOLE and not self._in_parts:
                raise StoreError(
                    f"Pack {pack} has {nbytes} bytes, {self._url} takes {WHOLE} in one request"
                )
            with self._there(), self._faults(f"sent pack {pack}"):
                if nbytes <= PART or not self._in_parts:
                    obstore.put(self._backend, pack, file, use_multipart=False)
                    advance(nbytes)
                else:
                    obstore.put(
                        self._backend,
                        pack,
                        _blocks(content, advance),
                        chunk_size=PART,
                        max_concurrency=PARTS_AT_ONCE,
                    )

    def _get(self, pack: str, file: Path, advance: Advance) -> None:
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        try:
            digest = self._download(pack, part, advance)
            if digest != pack:
                raise PackError(
                    f"Expected pack {pack} in {self._url}, found SHA-256 {digest}",
                    remedy="Delete it there, then send it again from a clone that has it: "
                    "git theta push --all",
                )
            part.replace(file)
        except FileNotFoundError as fault:
            raise MissingPackError(f"The store {self._url} does not have pack {pack}") from fault
        finally:
            part.unlink(missing_ok=True)

    def _download(self, pack: str, file: Path, advance: Advance) -> str:
        """Write an object to a file; its SHA-256."""
        digest = hashlib.sha256()
        with _writing(file) as out:
            for attempt in range(TRIES):
                at = out.tell()
                try:
                    with self._faults(f"fetched pack {pack}"):
                        options: Any = {"range": {"offset": at}} if at else {}
                        found = obstore.get(self._backend, pack, options=options)
                        for block in found.stream(min_chunk_size=2**20):
                            digest.update(block)
                            out.write(block)
                            advance(len(block))
                    break
                except StoreError:
                    # Where nothing at all arrived obstore has tried often enough.
                    if attempt == TRIES - 1 or out.tell() == at:
                        raise
        return digest.hexdigest()

    @contextlib.contextmanager
    def _there(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as fault:  # of something that is sent
            raise StoreError(
                f"There is no {self._url}: {first_line(fault)}",
                remedy="Check the URL (git theta remote): its bucket or container must exist",
            ) from fault

    @contextlib.contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as fault:
            raise StoreError(
                f"The store {self._url} refused when {what}: {first_line(fault)}",
                remedy="Check the credentials in the environment, and what they allow",
            ) from fault
        except BaseError as fault:
            raise StoreError(
                f"The store {self._url} failed when {what}: {first_line(fault)}",
                remedy="Check the network and the URL, then try again: what arrived is kept",
            ) from fault


def _all(jobs: Iterable[Callable[[], Any]], at_once: int) -> list[Any]:
    """Do jobs at the same time; a store that fails ends them all, one bad pack does not.

    Raises
    ------
    Exception
        The first one of a store that failed, else the first of a bad pack.
    """
    failed: list[Exception] = []
    lost: list[Exception] = []

    def attempt(job: Callable[[], Any]) -> Any:
        try:
            return None if failed else job()
        except (MissingPackError, PackError) as fault:
            lost.append(fault)
        except Exception as fault:
            failed.append(fault)

    with ThreadPoolExecutor(at_once) as pool:
        done = list(pool.map(attempt, jobs))
    for fault in (*failed, *lost):
        raise fault
    return done


def _check(packs: Iterable[str]) -> None:
    for pack in packs:
        if not _PACK.fullmatch(pack):
            raise StoreError(f"Expected a pack's name of 64 hex digits, found {pack!r}")


def _nbytes(pack: str, file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as fault:
        raise StoreError(f"Expected pack {pack} at {file}: {fault}") from fault


def _blocks(content: Any, advance: Advance) -> Iterator[bytes]:
    while block := content.read(PART):
        yield block
        advance(len(block))


@contextlib.contextmanager
def _writing(file: Path) -> Iterator[Any]:
    try:
        with file.open("xb") as out:
            yield out
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise StoreError(f"Cannot write {file}: {fault}") from fault
