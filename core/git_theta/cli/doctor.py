"""``git theta doctor``: what is installed, what is set up, what is wrong and how to mend it."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import click

from git_theta import __version__
from git_theta.errors import GitError, ThetaError
from git_theta.git import config, hooks, run, tracking
from git_theta.git.repository import Repository
from git_theta.git.tracked import entries, quoted, tracked_in_index
from git_theta.git.worktree import work_tree
from git_theta.human import counted, human_size
from git_theta.plugins import HOOKS, installed

EXAMPLES = """Examples:

\b
  git theta doctor          look at everything
  git theta doctor --json   for scripts, and for bug reports
"""

GIT_NEEDED = (2, 28)
"""The oldest git whose filter protocol and options are used."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    subject: str
    """What was looked at."""
    state: str
    """``ok``, ``note`` or ``problem``."""
    said: str
    """What was found."""
    remedy: str = ""
    """What to do about a problem."""


@click.command(epilog=EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Look for what keeps git-theta from working here, and say how to mend it.

    Exit code 1 when there is a problem.
    """
    findings = [finding for look in LOOKS for finding in _guarded(look)]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(_line(finding))
    ctx.exit(1 if any(finding.state == "problem" for finding in findings) else 0)


def _line(finding: Finding) -> str:
    color = {"ok": "green", "note": "yellow", "problem": "red"}[finding.state]
    mark = click.style(f"{finding.state:7}", fg=color)
    remedy = f"\n{'':20}{finding.remedy}" if finding.remedy else ""
    return f"{mark}  {finding.subject:9}  {finding.said}{remedy}"


def _guarded(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look finds; that it fails is a finding as well."""
    try:
        yield from look()
    except ThetaError as fault:
        yield Finding(look.__name__.strip("_"), "problem", str(fault).replace("\n", ". "))


def _versions() -> Iterator[Finding]:
    yield Finding("git-theta", "ok", f"{__version__}, Python {platform.python_version()}")
    shown = run.text("--version").removeprefix("git version ")
    digits = [int(part) for part in shown.split()[0].split(".")[:2] if part.isdigit()]
    if tuple(digits) < GIT_NEEDED:
        needed = ".".join(map(str, GIT_NEEDED))
        yield Finding("git", "problem", f"{shown}, expected {needed} or later", "Upgrade git")
    else:
        yield Finding("git", "ok", shown)


def _filter() -> Iterator[Finding]:
    found = config.entries()
    expected = [config.driver(), config.driver(skip_smudge=True)]
    if not found:
        yield Finding("filter", "problem", "is not configured", "Run git theta install")
    elif not any({k: v[-1] for k, v in found.items()} == wanted for wanted in expected):
        lines = ", ".join(f"{key} = {values[-1]}" for key, values in found.items())
        yield Finding(
            "filter", "problem", f"is configured otherwise: {lines}", "git theta install --force"
        )
    else:
        yield Finding("filter", "ok", "is configured")
    program = shutil.which("git-theta-filter")
    if not program:
        yield Finding(
            "filter",
            "problem",
            "git-theta-filter is not on PATH, so git cannot run it",
            "Add the folder that pip installs programs into to PATH, or activate its environment",
        )
        return
    answer = subprocess.run([program, "--version"], capture_output=True, text=True)
    if answer.stdout.strip() != f"git-theta {__version__}":
        said = answer.stdout.strip() or "no version"
        yield Finding(
            "filter", "problem", f"{program} says {said}, this is {__version__}", "Mend PATH"
        )


def _hook() -> Iterator[Finding]:
    if not run.run("rev-parse", "--git-dir", ok=(0, 128)):
        return
    hook = hooks.look()
    if hook.unwanted:
        said = f"{hooks.VARIABLE} is false, so git push sends no weights"
        yield Finding("hook", "note", said, "Run git theta push before each push")
    elif hook.problem:
        yield Finding("hook", "problem", hook.problem, hook.remedy)
    else:
        yield Finding("hook", "ok", f"git push sends weights: {hook.path}")


def _attributes() -> Iterator[Finding]:
    try:
        tree = work_tree()
    except GitError:
        yield Finding("tracked", "note", "there is no work tree here to look at")
        return
    statements = tracking.tracked(tree)
    if not statements:
        yield Finding("tracked", "note", "no pattern is tracked", "Run git theta track PATTERN")
    for statement in statements:
        yield Finding("tracked", "ok", f"{statement.rule.pattern} ({statement.where})")
    with Repository() as repository:
        ours = {entry.path for entry in entries(repository, None, everywhere=True)}
        raw = [item for item in tracked_in_index(everywhere=True) if item.path not in ours]
        found = repository.objects([item.oid for item in raw])
    whole = [item.path for item, blob in zip(raw, found, strict=True) if blob and blob[2]]
    for path in whole[:10]:
        from_here = shlex.quote(os.path.relpath(tree.top / path, tree.folder))
        yield Finding(
            "tracked",
            "problem",
            f"{quoted(path)} is tracked, but git still holds it as a whole file",
            f"git add --renormalize -- {from_here}",
        )


def _store() -> Iterator[Finding]:
    if run.run("rev-parse", "--is-inside-work-tree", ok=(0, 128)) == b"":
        return
    with Repository() as repository:
        store = repository.store
        packs = store.packs.packs()
        total = sum(store.packs.path(pack).stat().st_size for pack in packs)
        many = counted(len(packs), "pack")
        yield Finding("store", "ok", f"{many}, {human_size(total)}, {store.folder}")
        if store.index.in_memory:
            said = "may only be read, so every command looks through its packs anew"
            yield Finding("store", "note", said, f"Make {store.folder} writable, if it is yours")
        for fault in store.damaged.values():
            yield Finding("store", "problem", str(fault).replace("\n", ". "), "git theta fsck")


def _compiled() -> Iterator[Finding]:
    from git_theta.compiled import kernels  # imports numpy

    if kernels:
        yield Finding("compiled", "ok", kernels.name)
    elif os.environ.get("GIT_THETA_COMPILED") == "0":
        yield Finding("compiled", "ok", "nothing, as GIT_THETA_COMPILED=0 says")
    else:
        yield Finding(
            "compiled",
            "note",
            "nothing: numpy does the same, in up to twice the time",
            "Install a C compiler, then git-theta-core anew (pip install --force-reinstall)",
        )


def _plugins() -> Iterator[Finding]:
    plugins = installed()
    for distribution in dict.fromkeys(f"{p.distribution} {p.version}" for p in plugins.plugins):
        yield Finding("plugin", "ok", distribution)
    for hook in HOOKS:
        plugins.offers(hook)
    for failure in plugins.failures:
        yield Finding("plugin", "problem", str(failure), "Reinstall it, or pip uninstall it")


LOOKS = (_versions, _filter, _hook, _attributes, _store, _compiled, _plugins)
