"""The options --local, --worktree, --global and --system, as ``git config`` has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from git_theta.git.config import Scope

HELP = {
    Scope.LOCAL: "Only this repository.",
    Scope.WORKTREE: "Only this work tree (where extensions.worktreeConfig is set).",
    Scope.GLOBAL: "All repositories of this user (the default).",
    Scope.SYSTEM: "All users of this machine.",
}

F = TypeVar("F", bound=Callable[..., Any])


def scope_options(command: F) -> F:
    """Give a command the four options; the function gets ``scope``, None when none was given."""
    for scope in reversed(Scope):
        option = click.option(
            f"--{scope}", "scope", flag_value=scope.value, default=None, help=HELP[scope]
        )
        command = option(command)
    return command
