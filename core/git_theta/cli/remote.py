"""``git theta remote``: which store has the packs of a git remote."""

from __future__ import annotations

import json
import shlex

import click

from git_theta.cli import words
from git_theta.errors import StoreError
from git_theta.remotes import config, trust
from git_theta.remotes.trust import printable

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

EXAMPLES = """Examples:

\b
  git theta remote                                list stores, and what is suggested
  git theta remote add origin s3://bucket/models  packs of origin lie in a bucket
  git theta remote add origin /mnt/team/packs     or in a shared folder
  git theta remote remove origin                  on the Git LFS server of origin again
  git theta remote accept s3://bucket/models      use what .gittheta suggests

To suggest a store to whoever clones:

\b
  git config -f .gittheta theta.store s3://bucket/models && git add .gittheta
"""


@click.group(epilog=EXAMPLES, context_settings=SETTINGS, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def remote(ctx: click.Context, as_json: bool) -> None:
    """Set where the weights of a git remote lie: on its Git LFS server unless told otherwise.

    Settings are kept in this repository's git configuration, as remote.NAME.thetaStore.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show, as_json=as_json)
    elif as_json:
        raise click.UsageError(f"--json stands behind {ctx.invoked_subcommand}", ctx)


ADD_EXAMPLES = """Examples:

\b
  git theta remote add origin s3://bucket/models
  git theta remote add origin /mnt/team/packs
  git theta remote add origin lfs://origin        the remote's Git LFS server, whatever is suggested
"""


@remote.command(epilog=ADD_EXAMPLES)
@click.argument("name", shell_complete=words.remotes)
@click.argument("location", metavar="URL|FOLDER")
def add(name: str, location: str) -> None:
    """Set the store of the git remote NAME.

    What was pushed before lies where it was: git theta push --all NAME sends it to the new store.
    """
    url = config.set_store(name, location)
    click.echo(f"Packs of {name} lie at {printable(url)}")


@remote.command(epilog="Example: git theta remote remove origin")
@click.argument("name", shell_complete=words.remotes)
def remove(name: str) -> None:
    """Forget the store of the git remote NAME; its packs stay where they are."""
    if not config.unset_store(name):
        raise StoreError(
            f"Expected a remote with a store of its own, found {printable(name)!r}",
            remedy="git theta remote list shows them",
        )
    try:
        said = f"Packs of {name} lie at {printable(config.store_url(name))}"
    except StoreError as unsettled:
        said = str(unsettled)
    click.echo(said)


@remote.command("list", epilog="Example: git theta remote list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool = False) -> None:
    """List the store of every git remote, and what a tracked file suggests."""
    suggested = config.suggestion()
    rows: list[dict[str, str | None]] = []
    for name in config.remotes():
        try:
            chosen = config.choose(name)
            rows.append({"remote": name, "store": chosen.url, "by": chosen.by})
        except StoreError:
            rows.append({"remote": name, "store": None, "by": None})
    accepted = suggested in trust.accepted()
    if as_json:
        said = {"url": suggested, "accepted": accepted} if suggested else None
        click.echo(json.dumps({"remotes": rows, "suggestion": said}, indent=2))
        return
    width = max((len(name) for name in config.remotes()), default=0)
    for row in rows:
        store = printable(row["store"]) if row["store"] else "(not settled)"
        click.echo(f"{row['remote'] or '':{width}}  {store}  ({row['by'] or 'see below'})")
    if not rows:
        click.echo("There is no git remote; git remote add NAME URL makes one", err=True)
    if suggested and not accepted:
        shown = printable(suggested)
        click.echo(f"{config.SUGGESTIONS} suggests {shown}, which was not accepted")
        click.echo(f"If you trust it: git theta remote accept {shlex.quote(shown)}")


@remote.command(epilog="Example: git theta remote accept s3://bucket/models")
@click.argument("url", required=False)
@click.pass_context
def accept(ctx: click.Context, url: str | None) -> None:
    """Accept a URL that a tracked file names, such as a store that .gittheta suggests.

    Without URL, show what is suggested.
    """
    if url is None:
        ctx.invoke(show)
        return
    news = trust.accept(url)
    click.echo(f"{'Accepted' if news else 'Accepted before:'} {printable(url)}")
    if url != config.suggestion():
        return
    stores = config.configured()
    for name in config.remotes():
        if name not in stores:
            config.set_store(name, url)
            click.echo(f"Packs of {name} lie at {printable(url)}")
