"""What git streams into a clean filter, made a source: in memory, or the work tree's own file.

The stream must be drained before a filter answers. It is mostly the file at the path, but need not
be (``git hash-object --path --stdin``), so it is compared with that file as it comes: as long as
they agree nothing has to be written aside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, NamedTuple

import blake3

from git_theta.errors import FileChangedError, StoreError
from git_theta.git.rereading import Rereading, digest_source, has_digest
from git_theta.parallel import worker_count
from git_theta.source import BytesSource, FileSource, Source

if TYPE_CHECKING:
    from pathlib import Path

IN_MEMORY = 8 * 2**20
"""Longest stream to clean that is kept in memory: clearing more pages takes longer than reading."""

_STEP = 2**20
_BLOCK = 8 * 2**20


class Stamp(NamedTuple):
    """What a file's inode said when reading began."""

    values: tuple[int, ...]

    @staticmethod
    def of(fd: int) -> Stamp:
        """The stamp of an open file."""
        s = os.fstat(fd)
        return Stamp((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))

    def unwritten(self, fd: int) -> bool:
        """Whether nobody wrote to the file since; that it lost its name does not matter."""
        return Stamp.of(fd).values[:-1] == self.values[:-1]


class Received:
    """A drained stream; close it after use."""

    def __init__(self, source: Source, digest: bytes, fd: int = -1, stamp: Stamp | None = None):
        self.source = source
        """The bytes."""
        self.digest = digest
        """Their BLAKE3."""
        self._fd, self._stamp = fd, stamp
        self._rereading: Rereading | None = None

    def __enter__(self) -> Received:
        return self

    def __exit__(self, *_: object) -> None:
        self.reads_on()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def duplicate(self) -> tuple[int, Stamp] | None:
        """A descriptor that stays open; None of what is no file of the work tree, but a copy."""
        return (os.dup(self._fd), self._stamp) if self._stamp else None

    def check_unchanged(self, path: str) -> None:
        """Make sure that the file still holds what was read first.

        All of it is read once more: a page that somebody has mapped and writes to changes without
        a trace in the inode. A copy that nobody else can reach needs nothing.

        Raises
        ------
        FileChangedError
            When its inode or its bytes say that somebody wrote to it.
        """
        if not self._stamp:
            return
        rereading, self._rereading = self._rereading, None
        same = rereading.result() if rereading else None
        if same is None:  # nobody looked, or could not
            same = has_digest(self.source, self.digest)
        if not same or Stamp.of(self._fd) != self._stamp:
            raise _changed(path)

    def begin_check(self) -> None:
        """Read all of it once more in a thread: what :meth:`check_unchanged` need not do then.

        Nothing of it may be read after that, unless :meth:`reads_on` says so.
        """
        self.reads_on()
        if self._stamp and worker_count() > 1:
            with suppress(RuntimeError):  # no thread can be had: it is read later
                self._rereading = Rereading(self.source, self.digest)

    def reads_on(self) -> None:
        """Forget what was begun: what is read from now on is to be checked as well."""
        if self._rereading:
            self._rereading.stop()
            self._rereading = None


def receive(stream: Iterable[memoryview], path: str, temporary: Callable[[], Path]) -> Received:
    """Drain a stream that may be the file at ``path``; ``temporary`` tells a folder to spool into.

    Raises
    ------
    FileChangedError
        When the file changed while it streamed, and what streamed cannot be had any more.
    StoreError
        When the stream cannot be kept aside.
    """
    spool = _Spool(path, temporary)
    try:
        return _drain(stream, spool)
    except OSError as fault:
        raise _not_kept(path, temporary(), fault) from fault
    finally:
        spool.close()


def _drain(stream: Iterable[memoryview], spool: _Spool) -> Received:
    hasher = blake3.blake3()
    window = bytearray()
    for part in stream:
        hasher.update(part)  # while git reads on
        if spool.used:
            spool.add(part)
            continue
        window += part
        if len(window) > IN_MEMORY:
            spool.add(window)
            window = bytearray()
    if not spool.used:
        return Received(BytesSource(window), hasher.digest())
    return spool.finish(hasher.digest())


def open_file(
    path: str | os.PathLike[str], advance: Callable[[int], None] = lambda _: None
) -> Received:
    """A file that nobody streams; ``advance`` is told how many bytes were hashed.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
    try:
        stamp = Stamp.of(fd)
        source = FileSource(fd)
        digest = digest_source(source, advance)
    except BaseException:
        os.close(fd)
        raise
    return Received(source, digest, fd, stamp)


def pass_through(
    head: bytearray, rest: Iterable[memoryview], path: str, temporary: Path
) -> Iterator[bytes]:
    """Give back a stream as it is, once all of it is there: git sends it before it reads.

    Raises
    ------
    StoreError
        When what is too long for memory cannot be kept aside.
    """
    import tempfile  # seldom needed, and git waits for what is imported

    try:
        with ExitStack() as stack:
            kept: IO[bytes] | None = None
            for packet in rest:
                if kept is None and len(head) + len(packet) > _BLOCK:
                    temporary.mkdir(parents=True, exist_ok=True)
                    kept = stack.enter_context(tempfile.TemporaryFile(dir=temporary))
                if kept is None:
                    head += packet
                else:
                    kept.write(packet)
            yield bytes(head)
            if kept is not None:
                kept.seek(0)
                while data := kept.read(_STEP):
                    yield data
    except OSError as fault:
        raise _not_kept(path, temporary, fault) from fault


def _not_kept(path: str, temporary: Path, fault: OSError) -> StoreError:
    return StoreError(
        f"Cannot keep {path} aside in {temporary}: {fault}",
        remedy="Free some space (or mend the disk), then run the command again",
    )


class _Spool:
    """The file that agrees with the stream so far, or a temporary copy of the stream."""

    def __init__(self, path: str, temporary: Callable[[], Path]) -> None:
        self.used = False
        self._path, self._temporary = path, temporary
        self._fd = -1
        self._nbytes = 0
        self._copied = False

    def close(self) -> None:
        """Close the file, unless :meth:`finish` gave it away."""
        if self._fd >= 0:
            os.close(self._fd)

    def add(self, data: bytearray | memoryview) -> None:
        if not self.used:
            self.used = True
            self._read = bytearray(_STEP)
            self._open()
        if not self._copied and not self._agrees(data):
            self._copy()
        if self._copied:
            os.lseek(self._fd, 0, os.SEEK_END)
            _write(self._fd, data)
        self._nbytes += len(data)

    def _agrees(self, data: bytearray | memoryview) -> bool:
        """Whether the file goes on with this; it is read in order."""
        with memoryview(data) as view, memoryview(self._read) as room:
            for at in range(0, len(view), _STEP):
                part = view[at : at + _STEP]
                found = os.readv(self._fd, [room[: len(part)]])
                if found < len(part) or not self._read.startswith(part):
                    return False
        return True

    def finish(self, digest: bytes) -> Received:
        if not self._copied and os.fstat(self._fd).st_size != self._nbytes:
            self._copy()
        source = FileSource(self._fd)
        if self._copied and not has_digest(source, digest):
            raise _changed(self._path)
        received = Received(source, digest, self._fd, None if self._copied else self._stamp)
        self._fd = -1
        return received

    def _open(self) -> None:
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            self._fd = os.open(self._path, flags)
            self._stamp = Stamp.of(self._fd)
            comparable = stat.S_ISREG(os.fstat(self._fd).st_mode)
        except OSError:
            comparable = False
        if not comparable:
            self._copy()

    def _copy(self) -> None:
        """Go on in a temporary file, which begins with what agreed so far."""
        import tempfile

        folder = self._temporary()
        folder.mkdir(parents=True, exist_ok=True)
        file, self._fd = self._fd, -1
        try:
            self._fd, name = tempfile.mkstemp(prefix="stream-", dir=folder)
            os.unlink(name)
            for start in range(0, self._nbytes, _STEP):
                _write(self._fd, os.pread(file, min(_STEP, self._nbytes - start), start))
        finally:
            if file >= 0:
                os.close(file)
        self._copied = True


def _write(fd: int, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _changed(path: str) -> FileChangedError:
    return FileChangedError(
        f"{path} was written to while it was being added",
        remedy="Run git add again once nothing writes to the file",
    )
