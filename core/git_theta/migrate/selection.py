"""Which files go another way: by what the attributes say of them, by pattern, by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from git_theta.errors import AttributesError
from git_theta.git import attributes
from git_theta.git.tracking import GIT_FILES
from git_theta.migrate.contexts import Contexts
from git_theta.migrate.drivers import NOTHING, States, Way, append_missing, exact, replace_lines

REMEMBERED = 64
"""Attributes files of which it is remembered what is added."""
_YES, _NO = "filter=yes", "filter=no"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user wants to go another way."""

    include: tuple[str, ...] = ()
    """Patterns from the top; none: whatever the source has."""
    exclude: tuple[str, ...] = ()
    """Patterns that are left out."""
    above: int = 0
    """Only paths that have such a length in bytes in some version."""


class Selection:
    """Decides about paths, and writes what the top's attributes file has to say of them."""

    def __init__(self, contexts: Contexts, way: Way, wish: Wish) -> None:
        self._contexts, self._way, self._wish = contexts, way, wish
        lines = [f"{attributes.quote(pattern)} {_YES}" for pattern in wish.include or ["*"]]
        lines += [f"{attributes.quote(pattern)} {_NO}" for pattern in wish.exclude]
        self._asked = contexts.push(0, "", "\n".join(lines))
        self.by_driver = not wish.include and not wish.above
        """Whether the source's own files are meant, all of them."""
        self.only: frozenset[str] | None = None
        """Paths that are long enough; None: all are."""
        self._added = lru_cache(REMEMBERED)(self._add_lines)
        self.from_lfs = False
        """Whether some of the files are Git LFS's, whose other attributes have to go then."""
        if wish.include:
            self._refuse_git_files()

    def chosen(self, paths: Sequence[str], states: Sequence[States]) -> list[bool]:
        """Which of some paths go the way, where the attributes say this of them."""
        asked = self._matching(paths)
        return [
            (state.filter == self._way.source or self._takes_any)
            and matches
            and (self.only is None or path in self.only)
            for path, state, matches in zip(paths, states, asked, strict=True)
        ]

    def _matching(self, paths: Sequence[str]) -> list[bool]:
        if not self._wish.include and not self._wish.exclude:
            return [True] * len(paths)
        return [answer.filter == "yes" for answer in self._contexts.states(self._asked, paths)]

    @property
    def _takes_any(self) -> bool:
        """Whether files are taken that are not the source's: into git-theta, where asked for."""
        return self._way.target == "theta" and not self.by_driver

    def rewrite(self, content: str) -> str:
        """An attributes file in which the lines of chosen patterns name the target."""

        def wanted(pattern: str) -> bool:
            if self.by_driver:
                return True
            same = (attributes.same(pattern, other) for other in self._wish.include)
            return not self._wish.above and any(same)

        return replace_lines(content, self._way, wanted)

    def add_lines(self, content: str) -> str:
        """The top's attributes file with a line for what was chosen otherwise than by driver.

        To be asked once all is chosen: what is said of a content is remembered.
        """
        return self._added(content)

    def _add_lines(self, content: str) -> str:
        driver = self._way.source if self._way.source != "lfs" or self.from_lfs else ""
        words = self._way.overriding(States(driver, driver, driver, "unset"))
        if self.only is not None:
            return append_missing(content, [(exact(path), words) for path in sorted(self.only)])
        lines = [
            (pattern, words) for pattern in self._wish.include if not self._says(content, pattern)
        ]
        if self._wish.include:
            lines += [(pattern, NOTHING) for pattern in self._wish.exclude]
        return append_missing(content, lines)

    def _says(self, content: str, pattern: str) -> bool:
        """Whether an attributes file has a line of this pattern for the target already."""
        rules = (rule for rule in attributes.parse(content) if not rule.is_macro)
        return any(
            attributes.same(rule.pattern, pattern) and {*self._way.words} <= {*rule.attributes}
            for rule in rules
        )

    def _refuse_git_files(self) -> None:
        names = sorted(GIT_FILES)
        for name, matches in zip(names, self._matching(names), strict=True):
            if matches:
                raise AttributesError(
                    f"The patterns {' '.join(self._wish.include)} match {name}, which git has to "
                    "read itself",
                    remedy="Take narrower patterns, such as '*.safetensors'",
                )
