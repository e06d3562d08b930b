"""What the filter answers: metadata of a file that git hands over, the file of a metadata.

The protocol is :mod:`git_theta.git.filter`'s. What is imported here is imported while git still
sends the first file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from git_theta.errors import MetadataError, MissingPluginError
from git_theta.git.delayed import Delayed
from git_theta.git.known import (
    State,
    examine,
    find_known,
    lies_with_remotes,
    same_description,
)
from git_theta.git.pipes import say
from git_theta.git.pktline import PutOff
from git_theta.git.received import Received, pass_through
from git_theta.git.repository import Repository, Version
from git_theta.metadata import (
    HEAD_BYTES,
    MAX_BYTES,
    has_conflict,
    looks_like_metadata,
    normalize,
    parse,
)

if TYPE_CHECKING:
    from git_theta.clean import Cleaned
    from git_theta.updates.choose import Form


class Answers:
    """The answers to one git command, all of one repository.

    Parameters
    ----------
    skip
        Leave metadata as it is on checkout.
    """

    def __init__(self, *, skip: bool) -> None:
        self._skip = skip
        self._before: dict[str, bytes] = {}

    @cached_property
    def _repository(self) -> Repository:
        return Repository()

    @cached_property
    def _only_reads(self) -> bool:
        from git_theta.git.caller import only_reads

        return only_reads()

    @cached_property
    def _patches(self) -> bool:
        from git_theta.git.caller import PATCHERS, typed_command

        return typed_command() in PATCHERS

    @cached_property
    def _delayed(self) -> Delayed:
        return Delayed(self._repository)

    @property
    def temporary(self) -> Path:
        """The folder for what must be kept aside."""
        return self._repository.folder / "theta" / "tmp"

    def prepare(self) -> None:
        """Start what cleaning takes, while git still sends the file."""
        self._repository.start()

    def available(self) -> list[str]:
        """The files that were put off and can be had now."""
        return self._delayed.available()

    def clean(self, path: str, received: Received) -> bytes:
        """The metadata of a file; errors as :func:`clean_received`."""
        repository = self._repository
        text = clean_received(repository, path, received, only_reads=lambda: self._only_reads)
        repository.replaced.keep(path, text, received)
        if self._patches:
            self._before[path] = text
        return text

    def smudge(
        self, request: Mapping[str, str], stream: Iterable[memoryview]
    ) -> Iterator[bytes | memoryview]:
        """The file of the metadata that git streams; what is no metadata as it is.

        Raises
        ------
        PutOff
            When git shall ask again later.
        """
        self._repository.hook.look()
        before = self._before.get(request.get("pathname", ""))
        return _smudge(
            self._repository, self._delayed, request, stream, skip=self._skip, before=before
        )

    def flush(self) -> None:
        """Do what an answer to git need not wait for."""
        with contextlib.suppress(Exception):  # only the index, which the next process mends
            self._repository.flush()

    def close(self) -> None:
        """End the processes and close the files that were opened."""
        self._repository.close()


def clean_received(
    repository: Repository,
    path: str,
    received: Received,
    *,
    only_reads: Callable[[], bool] = lambda: False,
    form: Form | None = None,
) -> bytes:
    """The metadata of what was received; stored as a side effect, unless the caller only reads.

    What git has already is answered from git, before any format is asked: so nothing changes
    without a change, with or without the plugins that once read the file.

    A reader stores something in one case: the index has the metadata, no commit has it, and the
    store lacks the weights (a printed diff was applied). git takes the file for clean from then on
    and would commit it without asking again. Unless a remote has them: then nobody stores anything.

    ``form`` is how groups that the store lacks shall be stored, where a user said so.
    """
    repository.hook.warn()
    file = received.source
    if file.size == 0:
        return b""
    if looks_like_metadata(file.read(0, min(file.size, HEAD_BYTES))) and file.size <= 2 * MAX_BYTES:
        text = bytes(file.read(0, file.size))
        if has_conflict(text) and only_reads():  # git diff shows it, whatever else it shows
            return text
        return normalize(text, path)
    versions = repository.versions(path)
    known = find_known(versions, received.digest, file.size)
    lost: list[Version] = []
    for version in known:
        state = examine(repository, version.text, path)
        if state is State.SOUND:
            return version.text
        if state is State.LOST:
            lost.append(version)
    writes = any(version.staged for version in lost) or not only_reads()
    if lost and not writes:
        return lost[0].text
    try:
        for version in lost:  # what a remote has is not stored here once more
            if lies_with_remotes(repository, version.text):
                if version.text not in repository.proven:
                    told = _clean(repository, path, received, versions, False, form)
                    if not same_description(version.text, told.text):
                        continue
                    repository.proven.add(version.text)
                return version.text
        cleaned = _clean(repository, path, received, versions, writes, form)
    except MissingPluginError:
        if known:
            return known[0].text
        raise
    for version in known:  # what the store had lost is there again; what was wrong is replaced
        if same_description(version.text, cleaned.text):
            repository.proven.add(version.text)
            return version.text
        if version in lost and examine(repository, version.text, path) is State.SOUND:
            return version.text
    if writes:
        repository.proven.add(cleaned.text)
    if cleaned.warning:
        say(f"warning: {cleaned.warning}\nwarning: {path} is stored byte for byte, as unknown")
    return cleaned.text


def _clean(
    repository: Repository,
    path: str,
    received: Received,
    versions: list[Version],
    write: bool,
    form: Form | None,
) -> Cleaned:
    from git_theta.clean import Cleaning, clean
    from git_theta.git.history import older_metadata
    from git_theta.git.siblings import Siblings
    from git_theta.plugins import installed
    from git_theta.progress import progress

    file = received.source
    with (
        Siblings(repository, lambda: not write) as siblings,
        progress(f"Storing {path}", file.size) as advance,
    ):
        cleaned = clean(
            Cleaning(
                file,
                path,
                received.digest,
                store=repository.store,
                plugins=installed(),
                versions=[version.text for version in versions],
                older=lambda: older_metadata(repository, path),
                siblings=siblings,
                write=write,
                form=form,
                advance=lambda nbytes: advance(nbytes / 2),  # a byte that is stored is told twice
                settled=received.begin_check,
                reads_on=received.reads_on,
            )
        )
    received.check_unchanged(path)
    return cleaned


def _smudge(
    repository: Repository,
    delayed: Delayed,
    request: Mapping[str, str],
    stream: Iterable[memoryview],
    *,
    skip: bool,
    before: bytes | None = None,
) -> Iterator[bytes | memoryview]:
    packets, path = iter(stream), request.get("pathname", "")
    ready = delayed.blob(path)
    blob = ready or request.get("blob", "")
    text = bytearray(repository.blob(ready) if ready else b"")
    for packet in packets:
        text += packet
        if len(text) >= HEAD_BYTES:
            break
    if skip or not looks_like_metadata(text):
        folder = repository.folder / "theta" / "tmp"
        yield from pass_through(text, packets, path, folder)  # from before it was tracked
        return
    for packet in packets:
        text += packet
        if len(text) > 2 * MAX_BYTES:  # twice: each line may end in CRLF
            raise MetadataError(f"{path}: expected metadata of at most {MAX_BYTES} bytes")
    lines = bytes(text)
    if has_conflict(lines):
        yield lines
        return
    lines = lines.replace(b"\r\n", b"\n")
    if before and examine(repository, lines, path) is not State.SOUND:
        say(
            f"warning: {path} stays as it was: git put lines of two versions together, which "
            "describe no file\nwarning: Take all hunks of it, or none"
        )
        lines = before
    if request.get("can-delay") == "1" and delayed.put_off(path, blob, lines):
        raise PutOff
    from git_theta.progress import progress
    from git_theta.smudge import content

    metadata = parse(lines, path)
    with (
        repository.replaced.buffers(path, repository.store) as at_hand,
        progress(f"Checking out {path}", metadata.nbytes) as advance,
    ):
        yield from content(delayed.rebuild(metadata, path, blob, at_hand), advance)
    repository.proven.add(lines)
