"""``git theta install``: tell git about the filter."""

from __future__ import annotations

import shutil

import click

from git_theta.cli.scope import scope_options
from git_theta.errors import GitError
from git_theta.git import config, hooks, run

EXAMPLES = """Examples:

\b
  git theta install                  for all your repositories
  git theta install --local          only for this one
  git theta install --skip-smudge    clone and check out without fetching any weights
  git theta install --skip-repo      write no hook into the repository of the current folder
"""


@click.command(epilog=EXAMPLES)
@scope_options
@click.option(
    "--skip-smudge",
    is_flag=True,
    help="Leave small text files in place of the checkpoints on clone and checkout.",
)
@click.option("--skip-repo", is_flag=True, help="Write no hook into the current repository.")
@click.option("--force", is_flag=True, help="Overwrite values that someone else wrote.")
def install(scope: str | None, skip_smudge: bool, skip_repo: bool, force: bool) -> None:
    """Set up git to use git-theta.

    Writes the section [filter "theta"] to git's configuration, once for a user or repository, and
    in a repository the hook pre-push, which sends weights with git push. Other hooks are kept. No
    tracked file changes: git theta track says which files git-theta is to store.
    """
    chosen = config.Scope(scope or "global")
    changes = config.install(chosen, skip_smudge=skip_smudge, force=force)
    for change in changes:
        click.echo(f"  {change.key} = {change.new}", err=True)
    done = "installed" if changes else "is installed already"
    click.echo(f"git-theta {done} in the {chosen} git configuration")
    warn_of_missing_filter()
    if not skip_repo:
        set_up_hook()


def set_up_hook() -> None:
    """Set up the hook of the repository of the current folder, if there is one, and say so."""
    if not run.run("rev-parse", "--git-dir", ok=(0, 128)):
        return
    hook = hooks.set_up()
    if hook.changed:
        click.echo(f"Wrote the hook {hook.path}: git push sends weights", err=True)
    elif hook.problem:
        click.echo(
            f"warning: git push will not send weights: {hook.problem}\n{hook.remedy}\n"
            "Or run git theta push before each push",
            err=True,
        )


def warn_of_missing_filter() -> None:
    """Say so when git, which starts the filter by its name, will not find it."""
    if shutil.which("git-theta-filter") is None:
        click.echo(
            "warning: git-theta-filter is not on PATH, so git cannot start it\n"
            "Add the folder of git-theta's programs to PATH (activate its environment)",
            err=True,
        )


def install_if_possible() -> None:
    """Install where no scope has the filter yet; where nothing can be written, say so.

    Who has files of ours in the work tree and no filter would commit them as they are.
    """
    try:
        ensure_installed()
    except GitError as fault:
        click.echo(
            f"warning: git has no filter for these files: {fault}\n"
            "Until git theta install has written it, git add stores them as they are",
            err=True,
        )


def ensure_installed() -> None:
    """Install where no scope has the filter yet, and say so: for this user, else this repository.

    Raises
    ------
    GitError
        When neither configuration can be written.
    """
    if config.is_installed():
        return
    scope = config.Scope.GLOBAL
    try:
        config.install(scope)
    except GitError:
        if config.entries():
            raise  # a driver of somebody else's is there
        # No home, or one that cannot be written to (containers, build machines).
        scope = config.Scope.LOCAL
        config.install(scope)
    click.echo(
        f"git-theta was not installed yet; wrote its filter to the {scope} git configuration",
        err=True,
    )
    warn_of_missing_filter()
