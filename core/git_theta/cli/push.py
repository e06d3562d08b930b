"""``git theta push``: send weights; ``git theta pre-push`` is what git's hook runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

import click

from git_theta.cli import words
from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.human import counted, human_size
from git_theta.remotes.config import check_remote
from git_theta.remotes.plan import Plan
from git_theta.remotes.push import Pushed, parse_updates
from git_theta.remotes.push import push as send
from git_theta.remotes.trust import printable

EXAMPLES = """Examples:

\b
  git theta push                     what the current branch needs, to its remote
  git theta push origin main v1.0    what a branch and a tag need
  git theta push --all backup        what all branches and tags need
  git theta push --dry-run           how much it would send

git push does this by itself where the hook pre-push is set up; see git theta doctor.
"""

SHOWN = 5
"""So many packs are named in the output; --json has them all."""


@click.command(epilog=EXAMPLES)
@click.argument("remote", required=False, shell_complete=words.remotes)
@click.argument("refs", nargs=-1, shell_complete=words.revisions)
@click.option("--all", "everything", is_flag=True, help="All branches and tags, all of history.")
@click.option("--dry-run", "-n", is_flag=True, help="Only tell what would be sent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, sizes in bytes.")
def push(
    remote: str | None, refs: tuple[str, ...], everything: bool, dry_run: bool, as_json: bool
) -> None:
    """Send the weights that commits need and a remote's store lacks.

    REFS are branches, tags or commits, the current commit by default. Nothing in the remote's git
    repository changes but refs/theta/packs: git push moves its branches, afterwards.
    """
    if everything and refs:
        raise click.UsageError("--all takes no REFS")
    chosen = remote or default_remote()
    if not re.search("[:/]", chosen):  # else git takes it for a URL or a path
        check_remote(chosen)
    with Repository() as repository:
        names = list(refs) or ["HEAD"]
        if everything:
            form = "--format=%(objectname)"
            names = run.text("for-each-ref", form, "refs/heads", "refs/tags").splitlines()
        found = repository.objects(names)
        for name, tip in zip(names, found, strict=True):
            if tip is None:
                raise GitError(
                    f"Expected a branch, a tag or a commit, found {printable(name)!r}",
                    remedy="git branch --all lists branches",
                )
        tips = dict.fromkeys(tip[0] for tip in found if tip)
        pushed = Pushed(chosen, tuple(tips), everything=everything, doubting=True)
        plan = send(repository, pushed, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(_as_json(chosen, plan, dry_run=dry_run), indent=2))
        return
    if plan is None:
        click.echo("Nothing to send: these commits have no files of git-theta")
        return
    url = printable(plan.chosen.url)
    for line in tell(plan, dry_run=dry_run) or [f"{url} has all packs of these commits' files"]:
        click.echo(line)


HOOK_EXAMPLES = """Examples:

\b
  git theta pre-push "$@"    in a pre-push hook of your own, with the hook's stdin
"""


@click.command("pre-push", epilog=HOOK_EXAMPLES)
@click.argument("remote")
@click.argument("url", required=False)
@click.option("--with-lfs", is_flag=True, help="Do what the hook of Git LFS does as well.")
def pre_push(remote: str, url: str | None, with_lfs: bool) -> None:
    """Send what a git push needs; the hook pre-push runs this.

    git gives a hook the REMOTE and its URL, and a line on stdin for every ref that it is about to
    change. Any other exit code than 0 keeps git from pushing.
    """
    updates = sys.stdin.read()
    with Repository() as repository:
        pushed = parse_updates(repository, remote, updates.splitlines())
        if with_lfs and _uses_lfs(pushed.tips):
            _push_lfs([remote, *([url] if url else [])], updates)
        plan = send(repository, pushed)
    for line in tell(plan, dry_run=False) if plan else ():
        click.echo(f"git-theta: {line}", err=True)


def _uses_lfs(tips: Sequence[str]) -> bool:
    """Whether git-lfs is set up and one of the pushed trees hands files to it."""
    if not run.run("config", "--get", "filter.lfs.clean", ok=(0, 1)) or not shutil.which("git-lfs"):
        return False
    attributes = (":(top,glob)**/.gitattributes",)
    return any(
        run.run("grep", "-l", "-e", "filter=lfs", tip, "--", *attributes, ok=(0, 1, 128))
        for tip in tips
    )


def _push_lfs(arguments: list[str], updates: str) -> None:
    done = subprocess.run(["git", "lfs", "pre-push", *arguments], input=updates.encode())
    if done.returncode:
        raise GitError(f"git lfs pre-push failed with exit code {done.returncode}")


def default_remote() -> str:
    """The remote that ``git push`` takes: of the branch, of the configuration, the only one.

    Raises
    ------
    GitError
        When that cannot be told.
    """
    branch = run.text("symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1))
    keys = [f"branch.{branch}.pushRemote"] if branch else []
    keys += ["remote.pushDefault", *([f"branch.{branch}.remote"] if branch else [])]
    for key in keys:
        if value := run.text("config", "--get", key, ok=(0, 1)):
            return value
    names = run.text("remote").splitlines()
    if "origin" in names or len(names) == 1:
        return "origin" if "origin" in names else names[0]
    raise GitError(
        f"Expected one remote or one that is called origin, found {len(names)} remotes",
        remedy="Name one: git theta push REMOTE (git remote lists them)",
    )


def tell(plan: Plan, *, dry_run: bool) -> list[str]:
    """What a push did, for people; nothing where there was nothing to do."""
    lines = []
    if plan.send and (dry_run or plan.sent):
        verb = "Would send" if dry_run else "Sent"
        count = counted(len(plan.send), "pack")
        size, url = human_size(plan.nbytes), printable(plan.chosen.url)
        if not dry_run and plan.sent < plan.nbytes:
            size = f"{human_size(plan.sent)} of {size}: it had the rest"
        lines.append(f"{verb} {count} ({size}) to {url}")
    for one in plan.surplus[:SHOWN]:
        values = counted(one.buffers, "value")
        lines.append(
            f"note: pack {one.pack} also holds {values} ({human_size(one.nbytes)}) that no pushed "
            "commit uses"
        )
    if len(plan.surplus) > SHOWN:
        lines.append(f"note: so do {len(plan.surplus) - SHOWN} more packs")
    for pack in plan.broken[:SHOWN]:
        lines.append(
            f"warning: neither the remote nor this repository has pack {pack}, which commits need "
            "that were pushed before"
        )
    if len(plan.broken) > SHOWN:
        lines.append(f"warning: nor {len(plan.broken) - SHOWN} more packs")
    return lines


def _as_json(remote: str, plan: Plan | None, *, dry_run: bool) -> dict[str, object]:
    return {
        "remote": remote,
        "store": plan.chosen.url if plan else None,
        "dry_run": dry_run,
        "needed": dict(sorted(plan.packs.items())) if plan else {},
        "sent": dict(sorted(plan.send.items())) if plan else {},
        "bytes": plan.nbytes if plan else 0,
        "surplus": [one._asdict() for one in plan.surplus] if plan else [],
        "lacking": sorted(plan.broken) if plan else [],
    }
