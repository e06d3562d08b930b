"""Starts git-lfs and reads what it says: which objects are there, and what went wrong."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, NamedTuple

from git_theta.errors import StoreError
from git_theta.storage.interface import Advance

_POLL = 0.1
"""Seconds between looks at the file in which git-lfs tells its progress."""

_MAX_PROGRESS = 2**20
"""Bytes of progress after which the file begins anew: a line for every 32 KiB is a lot."""

_REFUSED = re.compile(r"/incomplete/([0-9a-f]{64})")
_LACKING = re.compile(
    r"\[([0-9a-f]{64})\] .*(?:\[(?:404|410|422)\]|not exist|not found)"
    r"|remote missing object ([0-9a-f]{64})"
)
_TRANSFER = re.compile(r'error transferring "([0-9a-f]{64})"')
_OTHER_BYTES = re.compile(r"expected OID ([0-9a-f]{64}), got \w+ after (\d+) bytes", re.IGNORECASE)
_NOTHING = re.compile(
    r"^batch response: (?!Git credentials).*(?:\b(?:404|410|422)\b|not found|cannot find)",
    re.IGNORECASE | re.MULTILINE,
)
_NOISE = re.compile(
    r"^(fetch: |Errors logged to|Use `git lfs logs|Uploading LFS|Downloading LFS"
    r"|error: failed to (?:fetch|push) some|The most similar command|\t\w)"
    r"|^\d\d:\d\d:\d\d\.\d+ trace|: \d+% \("
)

_TEMPORARY = re.compile(
    r"HTTP 50[0234]|Server error|rate limit|^panic: |\bEOF$|connection reset|broken pipe",
    re.IGNORECASE | re.MULTILINE,
)

_REMEDIES = (
    (r"is not a git command", "Install Git LFS (https://git-lfs.com; Debian: apt install git-lfs)"),
    (
        r"credentials|authenticat|authoriz|\b401\b|\b403\b|permission denied|could not read",
        "Log in with an account that may use it: git-lfs takes git's own credentials",
    ),
    (
        r"dial tcp|connection refused|no such host|could not resolve|timed? ?out|unreachable",
        "Check the network and the remote's URL (git remote -v, git lfs env), then try again",
    ),
    (r"no space left|disk quota", "Free some space, then try again: what arrived is kept"),
)


class Answer(NamedTuple):
    """What came of a command of git-lfs."""

    code: int
    """Its exit code."""
    said: str
    """What it wrote, in English."""

    @property
    def refused(self) -> set[str]:
        """Objects that the server would have sent, had we let it."""
        return set(_REFUSED.findall(self.said))

    @property
    def lacking(self) -> set[str]:
        """Objects that the server does not have, or has with another size."""
        return {found[1] or found[2] for found in _LACKING.finditer(self.said)}

    @property
    def failed(self) -> set[str]:
        """Objects that a transfer agent did not send."""
        return set(_TRANSFER.findall(self.said))

    @property
    def other_bytes(self) -> dict[str, int]:
        """Objects in place of which something else arrived, and of how many bytes."""
        return {oid.lower(): int(nbytes) for oid, nbytes in _OTHER_BYTES.findall(self.said)}

    @property
    def found_nothing(self) -> bool:
        """Whether the server had none of a batch: some say so for the request as a whole."""
        return bool(_NOTHING.search(self.said))

    @property
    def temporary(self) -> bool:
        """Whether the same may go well in a moment, and git-lfs gave up.

        It asks its server's API once only, and 3.3 crashes where a server has too much to do and
        does not say for how long.
        """
        return self.code != 0 and bool(_TEMPORARY.search(self.said))

    def error(self, what: str) -> StoreError:
        """An error with the words of git-lfs and what to do about it."""
        said, crash, _ = self.said.partition("\ngoroutine ")
        lines = [line.rstrip() for line in said.splitlines() if not _NOISE.search(line)]
        lines += ["git-lfs crashed"] if crash else []
        said = "\n".join(dict.fromkeys(filter(None, lines[-20:]))) or f"exit code {self.code}"
        said = without_secrets(said)
        for pattern, remedy in _REMEDIES:
            if re.search(pattern, self.said, re.IGNORECASE):
                return StoreError(f"{what}: {said}", remedy=remedy)
        return StoreError(f"{what}: {said}", remedy="Try again; git lfs env shows the server")


def without_secrets(text: str) -> str:
    """Text without what URLs in it carry beside the place: passwords, tokens, signatures."""
    return re.sub(r"(\w://[^\s?'\"]*)\?[^\s'\"]*", r"\1", re.sub(r"(\w://)[^/@\s]*@", r"\1", text))


class Progress:
    """Looks how far git-lfs is, and tells a caller the bytes that it says it has transferred.

    git-lfs writes to a file, and has the disk keep every line of it: 128 MB take 0.8 s instead of
    0.1 where that is a disk. So it is a file in memory; where a system has none, git-lfs is asked
    only if somebody watches.
    """

    _LINE = re.compile(r"\w+ \d+/\d+ (\d+)/-?\d+ .*?([0-9a-f]{64})$")

    def __init__(self, sizes: Mapping[str, int], advance: Advance) -> None:
        self._sizes, self._advance = sizes, advance
        self._told: dict[str, int] = {}
        self.look: Callable[[], None] = lambda: None
        """What else is done at each look, and once more when git-lfs has ended."""
        self.complete = True
        """Whether git-lfs told, or will tell, of all that it transfers."""

    @contextlib.contextmanager
    def file(self) -> Iterator[tuple[IO[bytes] | None, str]]:
        """The file that git-lfs writes to, and a name for it; nothing where it shall write none."""
        try:
            fd = os.memfd_create("git-theta-progress")
        except (AttributeError, OSError):
            self.complete = False
            if not sys.stderr.isatty():
                yield None, ""
                return
            with tempfile.NamedTemporaryFile(buffering=0) as file:
                yield file.file, file.name
            return
        with open(fd, "w+b", buffering=0) as memory:
            yield memory, f"/proc/{os.getpid()}/fd/{fd}"

    def poll(self, file: IO[bytes] | None) -> None:
        """Tell what is new in the file."""
        if file:
            self._read_on(file)
            if file.tell() > _MAX_PROGRESS:
                self._read_on(file)  # what is written from here on and lost, later lines tell again
                file.truncate(0)  # git-lfs appends
                file.seek(0)
        self.look()

    def _read_on(self, file: IO[bytes]) -> None:
        start = file.tell()
        lines = file.read().rpartition(b"\n")[0]
        file.seek(start + len(lines))
        for line in lines.decode(errors="replace").splitlines():
            found = self._LINE.match(line)
            if found and found[2] in self._sizes:
                self._tell(found[2], int(found[1]))

    def settle(self, packs: Iterable[str] | None = None) -> None:
        """Tell what is left of packs that were transferred; None: all that git-lfs spoke of."""
        for pack in list(self._told) if packs is None else packs:
            self._tell(pack, self._sizes[pack])

    def _tell(self, pack: str, done: int) -> None:
        told = self._told.setdefault(pack, 0)
        new = min(done, self._sizes[pack]) - told
        if new > 0:
            self._told[pack] += new
            self._advance(new)


def git_lfs(
    *args: str,
    config: Mapping[str, str],
    env: Mapping[str, str],
    input: Callable[[], bytes] = bytes,
    progress: Progress | None = None,
) -> Answer:
    """Run ``git lfs ARGS...`` in the repository that git finds here; it may ask for a password.

    ``input`` is called when git-lfs has been started, to give it what it reads: it takes a while
    before it does.

    Raises
    ------
    StoreError
        When git cannot be started.
    """
    command = ["git"]
    for name, value in config.items():
        command += ["-c", f"{name}={value}"]
    variables = {**os.environ, **env, "LC_ALL": "C", "LANGUAGE": ""}
    with progress.file() if progress else contextlib.nullcontext((None, "")) as (told, name):
        if name:
            variables["GIT_LFS_PROGRESS"] = name
        try:
            process = subprocess.Popen(
                [*command, "lfs", *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=variables,
            )
        except OSError as fault:
            raise StoreError(f"git cannot be started: {fault}") from fault
        with process:
            said = _communicate(process, _input(process, input), progress, told)
    return Answer(process.returncode, said.decode(errors="replace"))


def _input(process: subprocess.Popen[bytes], give: Callable[[], bytes]) -> bytes:
    try:
        return give()
    except BaseException:
        process.communicate(b"")  # it ends by itself where there is nothing to do
        raise


def _communicate(
    process: subprocess.Popen[bytes],
    input: bytes,
    progress: Progress | None,
    told: IO[bytes] | None,
) -> bytes:
    remaining: bytes | None = input
    while True:
        try:
            said = process.communicate(remaining, _POLL if progress else None)[0]
        except subprocess.TimeoutExpired:
            remaining = None  # it is being sent
        except BaseException:
            process.kill()
            raise
        else:
            if progress:
                progress.poll(told)
            return said
        if progress:
            progress.poll(told)
