"""The commands of ``git theta``: where each lives, and the group that imports one when it is typed.

To add a command, write a click command in a file of its own and name it in :data:`COMMANDS`.
Commands of plugins come through the hook ``theta_commands``; the kernel's own names win.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

import click

from git_theta import __version__
from git_theta.errors import PluginError

if TYPE_CHECKING:
    from git_theta.plugins import Offer

COMMANDS: dict[str, str] = {
    "install": "git_theta.cli.install:install",
    "uninstall": "git_theta.cli.uninstall:uninstall",
    "track": "git_theta.cli.track:track",
    "untrack": "git_theta.cli.untrack:untrack",
    "add": "git_theta.cli.add:add",
    "checkout": "git_theta.cli.checkout:checkout",
    "fetch": "git_theta.cli.fetch:fetch",
    "pull": "git_theta.cli.pull:pull",
    "push": "git_theta.cli.push:push",
    "pre-push": "git_theta.cli.push:pre_push",
    "remote": "git_theta.cli.remote:remote",
    "ls-files": "git_theta.cli.ls_files:ls_files",
    "show": "git_theta.cli.show:show",
    "du": "git_theta.cli.du:du",
    "migrate": "git_theta.cli.migrate:migrate",
    "repack": "git_theta.cli.repack:repack",
    "gc": "git_theta.cli.gc:gc",
    "prune": "git_theta.cli.prune:prune",
    "fsck": "git_theta.cli.fsck:fsck",
    "doctor": "git_theta.cli.doctor:doctor",
    "plugins": "git_theta.cli.plugins:plugins",
    "completion": "git_theta.cli.completion:completion",
}
"""Module and attribute of every command, in the order in which help shows them."""

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(click.Group):
    """A group that imports a command only when it is invoked, or when help lists it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the kernel's commands, then of those that plugins offer."""
        return [*COMMANDS, *sorted(self._offered().keys() - COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; plugins are asked when the kernel does not have it."""
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        if not cmd_name or cmd_name.startswith("-"):
            return None
        offer = self._offered().get(cmd_name)
        return offer.value if offer else None

    def _offered(self) -> dict[str, Offer]:
        from git_theta.plugins import installed

        try:
            offers = installed().offers("theta_commands")
        except PluginError as error:
            if plugins_are_strict():
                raise
            click.echo(f"warning: {error}", err=True)
            return {}
        if installed().failures:
            click.echo("warning: a plugin is broken; see: git theta plugins", err=True)
        return offers


def plugins_are_strict() -> bool:
    """Whether a broken plugin is an error instead of a warning."""
    return os.environ.get("GIT_THETA_STRICT_PLUGINS") == "1"


def _set_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    # In the environment, so that a git-theta-filter which git starts for us shows its tracebacks.
    if value:
        os.environ["GIT_THETA_DEBUG"] = "1"


@click.group(
    cls=LazyGroup,
    context_settings=SETTINGS,
    invoke_without_command=True,
    epilog="Examples:\n\n\b\n"
    "  git theta track '*.safetensors'    from now on git-theta stores these\n"
    "  git theta track --help             what a command does (git theta -h: this page)",
)
@click.version_option(__version__, message="git-theta %(version)s")
@click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_set_debug,
    help="Show the traceback of an error (or set GIT_THETA_DEBUG=1).",
)
@click.pass_context
def theta(ctx: click.Context) -> None:
    """Version machine learning models with git.

    Track a checkpoint once, then use plain git: git add, commit, diff and checkout work as with
    any other file, and only the parameter groups that changed are stored.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
