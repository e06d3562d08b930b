"""The names of update types on a command line: checked, and completed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    _ParamType = click.ParamType[str, str]
else:  # that of older releases takes no types
    _ParamType = click.ParamType

ALIASES = {"ia3": "scale"}
"""Names that the original Git-Theta has for some."""


class UpdateTypeName(_ParamType):
    """The name of an installed update type; plugins are imported only when one is given."""

    name = "update type"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, if a plugin offers it."""
        names = _names()
        value = ALIASES.get(value, value)
        if value not in names:
            self.fail(f"No update type {value!r} is installed, expected one of {', '.join(names)}")
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin like this."""
        return [CompletionItem(name) for name in _names() if name.startswith(incomplete)]


def _names() -> list[str]:
    from git_theta.plugins import installed

    return sorted(installed().offers("theta_update_types"))


UPDATE_TYPE = UpdateTypeName()
