"""The filter that git runs: ``git-theta-filter process``, ``clean PATH`` and ``smudge PATH``.

git hands over a file and gets metadata (clean), or metadata and gets the file (smudge). ``process``
serves all files of one git command in one process. stdout is git's; messages go to stderr.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn

from git_theta import __version__
from git_theta.allocator import keep_freed_memory
from git_theta.blas import one_thread
from git_theta.errors import GitError, MetadataError, MissingPluginError, ThetaError
from git_theta.git.delayed import Delayed
from git_theta.git.known import (
    State,
    examine,
    find_known,
    lies_with_remotes,
    same_description,
)
from git_theta.git.meanwhile import drained
from git_theta.git.pipes import PIPE_BYTES, own_pipes, report, say, widen_pipes
from git_theta.git.pktline import PacketReader, PacketWriter
from git_theta.git.received import Received, pass_through, receive
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

USAGE = "usage: git-theta-filter (process | clean PATH | smudge PATH) [--skip]"
_CAPABILITIES = ("capability=clean", "capability=smudge", "capability=delay")


def run() -> NoReturn:
    """Run the filter as a program; git waits for its end, so nothing is torn down."""
    one_thread()
    keep_freed_memory()
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(args: list[str] | None = None) -> int:
    """Run the filter; gives the exit code."""
    args = sys.argv[1:] if args is None else args
    skip = "--skip" in args or os.environ.get("GIT_THETA_SKIP_SMUDGE") == "1"
    args = [arg for arg in args if arg != "--skip"]
    if args == ["--version"]:
        print(f"git-theta {__version__}")
        return 0
    sys.setswitchinterval(0.1)  # threads here wait for C code, not for each other
    gc.disable()  # a checkpoint is many small values without cycles: looking for some costs a third
    try:
        with Repository() as repository:
            if args == ["process"]:
                return serve(repository, skip=skip)
            if len(args) == 2 and args[0] in ("clean", "smudge"):
                return serve_one(repository, args[0], args[1], skip=skip)
    except ThetaError as error:
        return report(error)
    except KeyboardInterrupt:
        return 130
    print(USAGE, file=sys.stderr)
    return 2


def serve_one(repository: Repository, command: str, path: str, *, skip: bool) -> int:
    """Filter one file from stdin to stdout, for git without the process protocol."""
    reader, writer = own_pipes()
    stream = iter(lambda: memoryview(os.read(reader, PIPE_BYTES)), memoryview(b""))
    request = {"command": command, "pathname": path}
    for data in _answer(repository, Delayed(repository), request, stream, skip=skip):
        view = memoryview(data)
        while view:
            view = view[os.write(writer, view) :]
    return 0


def serve(repository: Repository, *, skip: bool) -> int:
    """Speak git's long-running filter protocol until git hangs up."""
    widen_pipes()
    stdin, stdout = own_pipes()
    reader, writer = PacketReader(stdin), PacketWriter(stdout)
    if reader.lines() != ["git-filter-client", "version=2"]:
        raise GitError("Expected git's filter protocol, version 2, on stdin")
    writer.lines("git-filter-server", "version=2")
    offered = reader.lines()
    writer.lines(*(capability for capability in _CAPABILITIES if capability in offered))
    delayed = Delayed(repository)
    while True:
        try:
            request = dict(line.partition("=")[::2] for line in reader.lines())
        except EOFError:
            return 0
        try:
            if request.get("command") == "list_available_blobs":
                writer.lines(*(f"pathname={path}" for path in delayed.available()))
                writer.lines("status=success")
            else:
                _serve_file(repository, delayed, request, reader, writer, skip=skip)
        except BrokenPipeError:
            return 141  # git went away; there is nobody to tell
        with contextlib.suppress(Exception):  # only the index, which the next process mends
            repository.flush()


def _serve_file(
    repository: Repository,
    delayed: Delayed,
    request: dict[str, str],
    reader: PacketReader,
    writer: PacketWriter,
    *,
    skip: bool,
) -> None:
    """Answer a request to clean or to smudge a file."""
    stream = reader.content()
    started = False
    try:
        for data in _answer(repository, delayed, request, stream, skip=skip):
            if not started:
                writer.lines("status=success")
                started = True
            writer.content(data)
        if not started:
            writer.lines("status=success")
        writer.flush()
        writer.flush()
    except _PutOff:
        writer.lines("status=delayed")
    except BrokenPipeError:
        raise
    except Exception as error:  # one bad file must not hang git: it waits for an answer
        report(error)
        for _ in stream:
            pass
        if started:
            writer.flush()
        writer.lines("status=error")


class _PutOff(Exception):
    """A file shall be asked for later."""


def _answer(
    repository: Repository,
    delayed: Delayed,
    request: Mapping[str, str],
    stream: Iterable[memoryview],
    *,
    skip: bool,
) -> Iterator[bytes | memoryview]:
    command, path = request.get("command", ""), request.get("pathname", "")
    if command == "clean":
        folder = repository.folder / "theta" / "tmp"
        with drained(lambda: receive(stream, path, folder), path) as received:
            from git_theta.git.caller import only_reads

            yield clean_received(repository, path, received, only_reads=only_reads)
    elif command == "smudge":
        repository.hook.look()
        yield from _smudge(repository, delayed, request, stream, skip=skip)
    else:
        raise GitError(f"Expected the command clean or smudge from git, found {command!r}")


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
        return normalize(bytes(file.read(0, file.size)), path)
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
    from git_theta.clean import clean
    from git_theta.cli.progress import progress
    from git_theta.git.history import older_metadata
    from git_theta.plugins import installed
    from git_theta.updates.choose import CHOSEN

    file = received.source
    with progress(f"Storing {path}", 2 * file.size) as advance:
        cleaned = clean(
            file,
            path,
            received.digest,
            store=repository.store,
            plugins=installed(),
            versions=[version.text for version in versions],
            older=lambda: older_metadata(repository, path),
            write=write,
            form=form or CHOSEN,
            advance=advance,
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
    if request.get("can-delay") == "1" and delayed.put_off(path, blob, lines):
        raise _PutOff
    from git_theta.cli.progress import progress
    from git_theta.smudge import content

    metadata = parse(lines, path)
    rebuilt = delayed.rebuild(metadata, path, blob)
    with progress(f"Checking out {path}", metadata.nbytes) as advance:
        yield from content(rebuilt, advance)
    repository.proven.add(lines)
