"""``git theta track``: say which files git-theta stores."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence

import click

from git_theta.cli.folders import Chosen, expand
from git_theta.cli.install import ensure_installed, set_up_hook
from git_theta.git import attributes, matching, patterns, tracking
from git_theta.git.tracking import Done, Outcome
from git_theta.git.worktree import WorkTree, work_tree
from git_theta.human import counted

EXAMPLES = """Examples:

\b
  git theta track model.pt                every file of this name
  git theta track '*.safetensors'         quoted, so that the shell leaves it to git
  git theta track checkpoints/            all files in a folder
  git theta track saved_model/            of a checkpoint that is a folder, its weights
  git theta track --filename 'a[1].pt'    a name with characters special in patterns
  git theta track                         list what is tracked, and by which line

Patterns are those of gitattributes; they are written to .gitattributes in the current folder.
"""

MANY = 8
"""So many files are named one by one in a command; of more, the pattern is."""


@click.command(epilog=EXAMPLES)
@click.argument("wanted", metavar="[PATTERN]...", nargs=-1, type=click.Path())
@click.option("--filename", is_flag=True, help="Each PATTERN is the name of one file or folder.")
@click.option("--json", "as_json", is_flag=True, help="List what is tracked as JSON.")
def track(wanted: tuple[str, ...], filename: bool, as_json: bool) -> None:
    """Have git-theta store all files that match a pattern.

    Without a PATTERN the tracked ones are listed.
    """
    tree = work_tree()
    if not wanted:
        _list(tree, as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json lists what is tracked and takes no PATTERN")
    chosen = {argument: to_patterns(tree, argument, filename=filename) for argument in wanted}
    asked = [pattern for one in chosen.values() for pattern in one.patterns]
    tracking.check(tree, asked)
    ensure_installed()
    set_up_hook()
    outcomes = tracking.track(tree, asked)
    for argument, one in chosen.items():
        _tell_of_folder(argument, one)
    for outcome in outcomes:
        _tell(outcome)
    for argument, one in chosen.items():
        _warn_of_wildcards(tree, argument, one.patterns[0])
    tell_renormalize(tree, outcomes, "are in git as they were before; hand them to git-theta with:")
    if any(outcome.done is not Done.UNCHANGED for outcome in outcomes):
        click.echo("Commit it as well: git add .gitattributes", err=True)


def to_patterns(tree: WorkTree, argument: str, *, filename: bool) -> Chosen:
    """The patterns that an argument of ``track`` or ``untrack`` stands for."""
    pattern = patterns.from_argument(argument, folder=tree.folder, top=tree.top, literal=filename)
    return expand(tree, argument, pattern)


def tell_renormalize(tree: WorkTree, outcomes: Sequence[Outcome], said: str) -> None:
    """Say which files in the index have to be added again, and the command that does it."""
    stale = list(dict.fromkeys(path for outcome in outcomes for path in outcome.stale))
    if not stale:
        return
    names = [os.path.relpath(path, tree.prefix or ".") for path in stale]
    if len(names) > MANY:
        names = [outcome.pattern for outcome in outcomes if outcome.stale]
    count = counted(len(stale), "file")
    click.echo(f"{count} {said}\n  git add --renormalize -- {shlex.join(names)}", err=True)


def _tell_of_folder(argument: str, chosen: Chosen) -> None:
    if chosen.folder:
        click.echo(
            f"{argument} is a checkpoint ({chosen.folder.format}); its weights are tracked, other "
            f"files in it stay with git. To track them all: git theta track "
            f"{shlex.quote(argument.rstrip('/') + '/**')}"
        )
        return
    pattern = chosen.patterns[0]
    if pattern.endswith("/**") and not argument.endswith("**"):
        click.echo(f"{argument} is a folder; git's attributes match files, so it is {pattern}")


def _tell(outcome: Outcome) -> None:
    shown = attributes.quote(outcome.pattern)
    said = {
        Done.ADDED: f"Tracking {shown}",
        Done.COMPLETED: f"Tracking {shown} (-text was missing)",
        Done.UNCHANGED: f"{shown} is tracked already",
    }
    click.echo(said[outcome.done])
    for line in outcome.exempt:
        click.echo(
            f"warning: some of its files are not tracked: {line.where} says "
            f"{attributes.quote(line.rule.pattern)} {' '.join(line.rule.attributes)}",
            err=True,
        )


def _warn_of_wildcards(tree: WorkTree, argument: str, pattern: str) -> None:
    path = os.path.normpath(tree.folder / argument)
    if not os.path.lexists(path) or os.path.isdir(path):
        return
    if not matching.matches(tree, pattern, [os.path.relpath(path, tree.top)]):
        click.echo(
            f"warning: {argument} is a file, yet read as a pattern it does not match that file\n"
            f"Track it by its name: git theta track --filename {shlex.quote(argument)}",
            err=True,
        )


def _list(tree: WorkTree, *, as_json: bool) -> None:
    found = tracking.tracked(tree)
    if as_json:
        rows = [
            {
                "pattern": statement.rule.pattern,
                "file": statement.file.name,
                "line": statement.rule.line,
                "attributes": statement.rule.attributes,
            }
            for statement in found
        ]
        click.echo(json.dumps({"patterns": rows}, indent=2))
        return
    click.echo("Tracked patterns" if found else "No pattern is tracked")
    for statement in found:
        click.echo(f"    {attributes.quote(statement.rule.pattern)} ({statement.where})")
