"""What the attributes in force say, asked of git itself: which paths match, which line wins.

Matching is git's business (wildcards, case, precedence), so patterns are put to ``git check-attr``
in an attributes file of our own, each with an attribute of our own as its answer.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from git_theta.git import attributes, patterns, run
from git_theta.git.attributes import Rule
from git_theta.git.worktree import WorkTree

FILE = ".gitattributes"
"""Name of the attributes file in every folder."""

PROBE = "git-theta-probe"
"""The attribute under which git answers; nobody else's file mentions it."""


@dataclass(frozen=True, slots=True)
class AttributesFile:
    """An attributes file that is in force."""

    name: str
    """As shown to a user: from the root of the work tree, or absolute."""
    prefix: str
    """The folder that its patterns start from, with a slash at its end; nothing for the root."""
    rules: tuple[Rule, ...]
    """What it says, in order."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one line says about one attribute."""

    file: AttributesFile
    """The file that the line stands in."""
    rule: Rule
    """The line."""
    state: str
    """In ``git check-attr``'s words; macros are resolved."""

    @property
    def where(self) -> str:
        """File and line, ``.gitattributes:3``."""
        return f"{self.file.name}:{self.rule.line}"


def attributes_files(tree: WorkTree) -> list[AttributesFile]:
    """All attributes files in force in a work tree, the weakest first."""
    outer = [Path("/etc/gitattributes"), _user_file(tree)]
    found = [_file(str(path), "", _content(path)) for path in outer]
    listed = run.run(
        *("ls-files", "-z", "--cached", "--others", "--", f":(glob)**/{FILE}"), cwd=tree.top
    )
    names = {name for name in os.fsdecode(listed).split("\0") if name}
    for name in sorted(names, key=lambda name: (name.count("/"), name)):
        path = tree.top / name
        if path.is_symlink():
            continue  # git does not follow it
        if path.exists():
            content = _content(path)
        else:  # git reads the index's then, in a sparse checkout for instance
            content = run.text("cat-file", "blob", f":{name}", cwd=tree.top, ok=(0, 128))
        found.append(_file(name, name.removesuffix(FILE), content))
    own = tree.top / run.text("rev-parse", "--git-path", "info/attributes", cwd=tree.top)
    found.append(_file(os.path.relpath(own, tree.top), "", _content(own)))
    return [file for file in found if file.rules]


def macros(files: Iterable[AttributesFile]) -> dict[str, tuple[str, ...]]:
    """What each macro stands for; git reads their definitions outside of subfolders only."""
    rules = [rule for file in files if not file.prefix for rule in file.rules if rule.is_macro]
    return attributes.BUILTIN_MACROS | {rule.pattern: rule.attributes for rule in rules}


def statements(files: Sequence[AttributesFile], name: str) -> list[Statement]:
    """All lines that say something about an attribute, the weakest first."""
    known = macros(files)
    said = [
        Statement(file, rule, attributes.state(rule.attributes, name, known))
        for file in files
        for rule in file.rules
        if not rule.is_macro
    ]
    return [statement for statement in said if statement.state]


def deciding(
    tree: WorkTree, files: Sequence[AttributesFile], name: str, paths: Iterable[str]
) -> dict[str, Statement]:
    """The line that decides on an attribute, for each path (from the root) that one speaks of."""
    said = statements(files, name)
    rules = [(statement.file.prefix, statement.rule.pattern) for statement in said]
    return {path: said[number] for path, number in _winners(tree, rules, paths).items()}


def matches(tree: WorkTree, pattern: str, paths: Iterable[str]) -> list[str]:
    """Those paths (from the root) that a pattern of the current folder's file matches."""
    return list(_winners(tree, [(tree.prefix, pattern)], paths))


def filters(tree: WorkTree, paths: Iterable[str]) -> dict[str, str]:
    """The filter driver in force for each path (from the root), in ``git check-attr``'s words."""
    return dict(_check(tree, [], "filter", paths))


def _winners(
    tree: WorkTree, rules: Sequence[tuple[str, str]], paths: Iterable[str]
) -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="git-theta-") as scratch:
        probe = Path(scratch) / "attributes"
        lines = (
            f"{attributes.quote(patterns.from_top(pattern, prefix))} {PROBE}={number}\n"
            for number, (prefix, pattern) in enumerate(rules)
        )
        probe.write_bytes(os.fsencode("".join(lines)))
        answers = dict(_check(tree, ["-c", f"core.attributesFile={probe}"], PROBE, paths))
    return {path: int(value) for path, value in answers.items() if value.isdecimal()}


def _check(
    tree: WorkTree, options: Sequence[str], name: str, paths: Iterable[str]
) -> Iterator[tuple[str, str]]:
    asked = "".join(f"{path}\0" for path in paths)
    if not asked:
        return
    answer = run.run(
        *(*options, "check-attr", "-z", "--stdin", name), input=os.fsencode(asked), cwd=tree.top
    )
    fields = os.fsdecode(answer).split("\0")[:-1]
    yield from zip(fields[::3], fields[2::3], strict=True)


def _user_file(tree: WorkTree) -> Path:
    query = ("config", "--type=path", "core.attributesFile")
    configured = run.text(*query, cwd=tree.top, ok=(0, 1))
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return tree.top / configured if configured else Path(home, "git", "attributes")


def _file(name: str, prefix: str, content: str) -> AttributesFile:
    return AttributesFile(name, prefix, tuple(attributes.parse(content)))


def _content(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes())
    except OSError:
        return ""  # git, too, goes on without a file that it cannot read
