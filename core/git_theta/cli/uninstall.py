"""``git theta uninstall``: make git forget the filter."""

from __future__ import annotations

import click

from git_theta.cli.scope import scope_options
from git_theta.git import config

EXAMPLES = """Examples:

\b
  git theta uninstall            undo git theta install
  git theta uninstall --local    only in this repository
"""


@click.command(epilog=EXAMPLES)
@scope_options
def uninstall(scope: str | None) -> None:
    """Remove git-theta from git's configuration.

    Removes the section [filter "theta"] and nothing else: tracked files, their history and the
    stored weights stay as they are.
    """
    chosen = config.Scope(scope or "global")
    removed = config.uninstall(chosen)
    said = "removed from" if removed else "is not installed in"
    click.echo(f"git-theta {said} the {chosen} git configuration")
    if config.is_installed():
        click.echo(
            "It is still installed in another one; see: git config --show-scope "
            f"--get-regexp '^{config.SECTION}'",
            err=True,
        )
