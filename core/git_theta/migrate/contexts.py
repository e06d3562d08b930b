"""What attributes files of the past say: git is asked, in an empty repository of our own.

A *context* is a stack of attributes files, from the top of the work tree down to a folder. They are
told to git as one file whose patterns start at the top, so no path of a tree is written to disk.
"""

from __future__ import annotations

import os
import subprocess
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path

from git_theta.errors import GitError
from git_theta.git import attributes, patterns, run
from git_theta.migrate.drivers import ATTRIBUTES, States

OPEN = 8
"""Processes that are kept."""
REMEMBERED = 2**14
"""Paths of which answers are kept, in each context."""
_PIPE = 48 * 2**10
"""Bytes of answers that a pipe surely holds."""
_STATE = 80
"""More bytes than an answer has besides its path."""
_WORD = 64
"""Longest attribute that is looked at; no driver's name is that long."""
_ALONE = {"GIT_ATTR_NOSYSTEM": "1", "GIT_FLUSH": "1", "LC_ALL": "C"}
_UNSPECIFIED = States(*["unspecified"] * len(ATTRIBUTES))


class Contexts:
    """Contexts by number; 0 says nothing. Close it after use.

    Parameters
    ----------
    folder
        An empty folder of our own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._texts = [""]
        self._numbers = {"": 0}
        self._pushed: dict[tuple[int, str, str], int] = {}
        self._known: dict[int, dict[str, States]] = {}
        self._open: OrderedDict[int, subprocess.Popen[bytes]] = OrderedDict()
        self._env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | _ALONE
        run.run("init", "--bare", "--quiet", "--template=", str(folder / "git"))

    def __enter__(self) -> Contexts:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._end(self._open.popitem()[1])

    def push(self, context: int, prefix: str, content: str) -> int:
        """The context with one more attributes file.

        Parameters
        ----------
        context
            That of the folder above.
        prefix
            The file's folder with a slash at its end; nothing for the top.
        content
            The file.
        """
        key = (context, prefix, content)
        if key not in self._pushed:
            text = self._texts[context] + _from_top(content, prefix)
            if text not in self._numbers:
                self._numbers[text] = len(self._texts)
                self._texts.append(text)
            self._pushed[key] = self._numbers[text]
        return self._pushed[key]

    def states(self, context: int, paths: Sequence[str]) -> list[States]:
        """What is said of paths from the top.

        Raises
        ------
        GitError
            When git does not answer.
        """
        if not context:
            return [_UNSPECIFIED] * len(paths)
        known = self._known.setdefault(context, {})
        new = [path for path in paths if path not in known]
        if len(known) + len(new) > REMEMBERED:
            known.clear()
            new = list(paths)
        for chunk in _chunks(new):  # the answers lie in the pipe until all is asked: nobody waits
            known.update(zip(chunk, self._ask(context, chunk), strict=True))
        return [known[path] for path in paths]

    def _ask(self, context: int, paths: Sequence[str]) -> Iterator[States]:
        process = self._process(context)
        assert process.stdin
        assert isinstance(process.stdout, BufferedReader)
        process.stdin.write(b"".join(os.fsencode(path) + b"\0" for path in paths))
        process.stdin.flush()
        left = 3 * len(ATTRIBUTES) * len(paths)  # fields, each with a zero byte behind it
        parts = []
        while left:
            part = process.stdout.read1(_PIPE)
            if not part:
                raise GitError("git check-attr ended before it had answered")
            parts.append(part)
            left -= part.count(b"\0")
        values = os.fsdecode(b"".join(parts)).split("\0")[2::3]
        for at in range(0, len(values), len(ATTRIBUTES)):
            yield States(*values[at : at + len(ATTRIBUTES)])

    def _process(self, context: int) -> subprocess.Popen[bytes]:
        process = self._open.pop(context, None)
        if process is None:
            file = self._folder / str(context)
            file.write_bytes(os.fsencode(self._texts[context]))
            options = ("-c", f"core.attributesFile={file}", "--git-dir", str(self._folder / "git"))
            process = subprocess.Popen(
                ["git", *options, "check-attr", "-z", "--stdin", *ATTRIBUTES],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self._folder,
                env=self._env,
            )
            if len(self._open) == OPEN:
                oldest, ended = self._open.popitem(last=False)
                self._known.pop(oldest, None)
                self._end(ended)
        self._open[context] = process
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.communicate()


def _chunks(paths: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    nbytes = 0
    for path in paths:
        size = len(ATTRIBUTES) * (len(os.fsencode(path)) + _STATE)
        if chunk and nbytes + size > _PIPE:
            yield chunk
            chunk, nbytes = [], 0
        chunk.append(path)
        nbytes += size
    if chunk:
        yield chunk


def _from_top(content: str, prefix: str) -> str:
    """An attributes file as it would be said at the top; macros are defined there only."""
    lines = []
    for rule in attributes.parse(content):
        if rule.is_macro and prefix:
            continue
        pattern = attributes.MACRO + rule.pattern if rule.is_macro else rule.pattern
        told = pattern if rule.is_macro else patterns.from_top(pattern, prefix)
        words = [word for word in rule.attributes if len(word) <= _WORD]
        lines.append(" ".join([attributes.quote(told), *words]) + "\n")
    return "".join(lines)
