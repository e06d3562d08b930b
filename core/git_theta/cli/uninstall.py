"""``git theta uninstall``: make git forget the filter."""

from __future__ import annotations

import click

from git_theta.cli.scope import scope_options
from git_theta.errors import GitError
from git_theta.git import config, hooks, run

EXAMPLES = """Examples:

\b
  git theta uninstall            undo git theta install
  git theta uninstall --local    only in this repository
"""


@click.command(epilog=EXAMPLES)
@scope_options
def uninstall(scope: str | None) -> None:
    """Remove git-theta from git's configuration.

    Removes the section [filter "theta"] and, in a repository where no other configuration has it,
    our hook pre-push; a hook that was there before it is put back. Tracked files, their history
    and the stored weights stay as they are.
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
    elif run.run("rev-parse", "--git-dir", ok=(0, 128)):
        _take_hook_away()


def _take_hook_away() -> None:
    try:
        hook = hooks.take_away()
    except OSError as fault:
        raise GitError(
            f"The hook pre-push cannot be removed: {fault}", remedy="Mend its permissions"
        ) from fault
    if hook:
        click.echo(f"Removed the hook {hook}", err=True)
