"""``git theta plugins``: who offers what, and what is broken."""

from __future__ import annotations

import json

import click

from git_theta.cli.commands import COMMANDS, plugins_are_strict
from git_theta.errors import PluginError
from git_theta.plugins import HOOKS, Offer, Plugins, installed

EXAMPLES = """Examples:

\b
  git theta plugins           what is installed, and what it offers
  git theta plugins --json    the same for a program

Broken plugins are reported on stderr and skipped; GIT_THETA_STRICT_PLUGINS=1 makes them an error.
"""


@click.command(epilog=EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(as_json: bool) -> None:
    """List the installed plugins and what each one offers."""
    here = installed()
    offers, conflicts = _offers(here)
    found = {
        (plugin.distribution, plugin.version): _by_hook(offers, plugin.distribution)
        for plugin in here.plugins
    }
    if as_json:
        click.echo(_as_json(found, here, conflicts))
    else:
        for (distribution, version), offered in found.items():
            click.echo(f"{distribution} {version}")
            for hook, names in offered.items():
                click.echo(
                    f"    {hook.removeprefix('theta_').replace('_', ' ')}: {', '.join(names)}"
                )
    for problem in [*here.failures, *conflicts]:
        click.echo(f"broken plugin: {problem}", err=True)


def _offers(here: Plugins) -> tuple[list[Offer], list[str]]:
    """All offers, and the names offered twice: one fault must not hide the other hooks."""
    offers: list[Offer] = []
    conflicts: list[str] = []
    for hook in HOOKS:
        try:
            offers += here.offers(hook).values()
        except PluginError as error:
            if plugins_are_strict():
                raise
            conflicts.append(str(error))
    conflicts += [
        f"{offer.plugin.distribution} offers the command {offer.name!r}, which git theta has itself"
        for offer in offers
        if offer.hook == "theta_commands" and offer.name in COMMANDS
    ]
    return offers, conflicts


def _by_hook(offers: list[Offer], distribution: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for offer in offers:
        if offer.plugin.distribution == distribution:
            found.setdefault(offer.hook, []).append(offer.name)
    return found


def _as_json(
    found: dict[tuple[str, str], dict[str, list[str]]], here: Plugins, conflicts: list[str]
) -> str:
    distributions = [
        {"distribution": distribution, "version": version, "offers": offered}
        for (distribution, version), offered in found.items()
    ]
    failures = [
        {
            "distribution": failure.plugin.distribution,
            "version": failure.plugin.version,
            "what": failure.what,
            "error": f"{type(failure.error).__name__}: {failure.error}",
        }
        for failure in here.failures
    ]
    return json.dumps(
        {"distributions": distributions, "failures": failures, "conflicts": conflicts}, indent=2
    )
