"""Words that a shell completes with: names of remotes, revisions, patterns.

click asks for them when a shell's completion asks it; a repository that cannot be asked has none.
"""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from git_theta.errors import ThetaError


def remotes(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Names of git remotes."""
    from git_theta.git import run

    try:
        return _beginning(run.text("remote").splitlines(), typed)
    except ThetaError:
        return []


def revisions(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Names of branches and tags; or files, which mostly may stand there as well."""
    from git_theta.git import run

    kinds = ("refs/heads", "refs/tags", "refs/remotes")
    try:
        names = run.text("for-each-ref", "--format=%(refname:short)", *kinds).splitlines()
    except ThetaError:
        names = []
    return _or_files(["HEAD", *names], typed)


def patterns(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Patterns that are tracked from the current folder; or files, as a folder may be untracked."""
    from git_theta.git import tracking
    from git_theta.git.matching import FILE
    from git_theta.git.worktree import work_tree

    found: list[str] = []
    try:
        tree = work_tree()
        here = f"{tree.prefix}{FILE}"
        found += [line.rule.pattern for line in tracking.tracked(tree) if line.file.name == here]
    except ThetaError:
        pass
    return _or_files(found, typed)


def _or_files(words: Iterable[str], typed: str) -> list[CompletionItem]:
    found = [CompletionItem(word) for word in _beginning(dict.fromkeys(words), typed)]
    return [*found, CompletionItem(typed, type="file")]


def _beginning(words: Iterable[str], typed: str) -> list[str]:
    return [word for word in words if word.startswith(typed)]
