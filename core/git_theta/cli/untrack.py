"""``git theta untrack``: stop storing files by git-theta."""

from __future__ import annotations

import click

from git_theta.cli import words
from git_theta.cli.track import tell_renormalize, to_patterns
from git_theta.git import attributes, tracking
from git_theta.git.tracking import Done
from git_theta.git.worktree import work_tree

EXAMPLES = """Examples:

\b
  git theta untrack '*.pt'                  undo git theta track '*.pt'
  git theta untrack --filename 'a[1].pt'    undo git theta track --filename 'a[1].pt'
"""


@click.command(epilog=EXAMPLES)
@click.argument(
    "wanted", metavar="PATTERN...", nargs=-1, required=True, shell_complete=words.patterns
)
@click.option("--filename", is_flag=True, help="Each PATTERN is the name of one file or folder.")
def untrack(wanted: tuple[str, ...], filename: bool) -> None:
    """Stop storing the files that match a pattern by git-theta.

    Takes git-theta's attributes from the line of the pattern in .gitattributes of the current
    folder; other attributes in that line stay. What is committed stays as it is.
    """
    tree = work_tree()
    known = {line.rule.pattern for line in tracking.tracked(tree)}
    chosen = []
    for argument in wanted:
        stands_for = to_patterns(tree, argument, filename=filename)
        named = [*stands_for.patterns, stands_for.whole]
        chosen += [one for one in named if one in known] if stands_for.folder else named[:1]
        if stands_for.folder and known.isdisjoint(named):
            chosen.append(stands_for.whole)
    outcomes = tracking.untrack(tree, chosen)
    for outcome in outcomes:
        shown = attributes.quote(outcome.pattern)
        if outcome.done is Done.REMOVED:
            click.echo(f"No longer tracking {shown}")
        else:
            click.echo(f"{shown} is not tracked in {tree.prefix}.gitattributes")
            for line in tracking.tracked(tree):
                if attributes.same(line.rule.pattern, outcome.pattern):
                    click.echo(f"It is tracked in {line.where}: untrack it there", err=True)
        for line in outcome.exempt if outcome.done is Done.REMOVED else ():
            click.echo(
                f"warning: some of its files stay tracked: {line.where} says "
                f"{attributes.quote(line.rule.pattern)} {' '.join(line.rule.attributes)}",
                err=True,
            )
    tell_renormalize(tree, outcomes, "are in git by git-theta; store them as they are with:")
