"""``git theta migrate``: rewrite history, from Git LFS or plain git to git-theta, and back."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from git_theta.cli import words
from git_theta.cli.install import ensure_installed, set_up_hook
from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.human import counted, human_size
from git_theta.progress import progress

if TYPE_CHECKING:
    from git_theta.migrate.conversion import Conversion
    from git_theta.migrate.migration import Report, Request
    from git_theta.migrate.objects import Objects
    from git_theta.migrate.selection import Wish
    from git_theta.migrate.writer import NewObjects

EXAMPLES = """Examples:

\b
  git theta migrate import --everything --dry-run   what it would do
  git theta migrate import --everything             from Git LFS, in all branches and tags
  git theta migrate import --include '*.pt' main    from LFS or plain git, in one branch
  git theta migrate export --everything             back to Git LFS

Commits get new names: everybody has to clone anew, and it is pushed with git push --force.
"""

IMPORT_EXAMPLES = """Examples:

\b
  git theta migrate import                       the current branch, all that LFS keeps
  git theta migrate import --everything          all branches and tags
  git theta migrate import --include '*.pt'      only these files, be they in LFS or in git
  git theta migrate import --above 10MB          files that ever were as long as that
  git theta migrate import main ^origin/main     only commits that were not pushed
"""

EXPORT_EXAMPLES = """Examples:

\b
  git theta migrate export --everything          all branches and tags, to Git LFS
  git theta migrate export --to git small        a branch, into git itself
"""

SHOWN = 4
"""Most refs that a warning names."""
_UNITS = ("", "k", "m", "g", "t")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([kmgt]?)(i?)b?")


def size(value: str | int) -> int:
    """A number of bytes: ``500``, ``100kB``, ``1.5 GB``, ``10MiB``."""
    found = _SIZE.fullmatch(str(value).strip().lower())
    if not found:
        raise click.BadParameter(f"{value!r} is no size; 500, 100kB, 1.5GB, 10MiB are")
    power = _UNITS.index(found[2])
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        (
            click.argument("refs", metavar="[REF]...", nargs=-1, shell_complete=words.revisions),
            click.option("--everything", is_flag=True, help="All branches and tags."),
            click.option(
                "--include", metavar="PATTERN", multiple=True, help="Only files that match."
            ),
            click.option("--exclude", metavar="PATTERN", multiple=True, help="No such files."),
            click.option(
                "--map",
                "map_file",
                metavar="FILE",
                type=click.Path(dir_okay=False, path_type=Path),
                help="Where to write old and new names of commits.",
            ),
            click.option(
                "--allow-missing",
                is_flag=True,
                help="Leave versions as they are whose files cannot be had.",
            ),
            click.option(
                "--force", is_flag=True, help="Overwrite what refs/original/ keeps already."
            ),
            click.option("--dry-run", "-n", is_flag=True, help="Only tell what it would do."),
            click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        )
    ):
        command = option(command)
    return command


@click.group(epilog=EXAMPLES)
def migrate() -> None:
    """Rewrite history: files from Git LFS or git to git-theta, or back.

    Every version is compared with what it was before a branch moves, and all of them move at once.
    What they were is kept under refs/original/. Signatures of rewritten commits and tags go; notes
    stay with the old commits.
    """


@migrate.command("import", epilog=IMPORT_EXAMPLES)
@_options
@click.option("--above", metavar="SIZE", type=size, default=0, help="Only paths that long.")
def import_(include: tuple[str, ...], exclude: tuple[str, ...], above: int, **options: Any) -> None:
    """Have git-theta keep files in all of history.

    Without --include and --above these are the files that Git LFS keeps; with one of them also
    files that git itself keeps. Patterns are those of gitattributes, from the top of the work tree.
    LFS files that are not here are fetched first. REF is a branch or a tag, by default the
    current branch; ^COMMIT leaves a commit as it is, and all before it.
    """
    from git_theta.migrate.importing import Import
    from git_theta.migrate.selection import Wish
    from git_theta.plugins import installed

    def conversion(
        repository: Repository, folder: Path, objects: Objects, new: NewObjects
    ) -> Conversion:
        return Import(repository, installed(), objects, new, folder, _warn)

    if not options["dry_run"]:
        ensure_installed()
        set_up_hook()
    wish = Wish(_patterns(include), _patterns(exclude), above)
    _run(wish, conversion, target="git-theta", **options)


@migrate.command("export", epilog=EXPORT_EXAMPLES)
@_options
@click.option(
    "--to",
    "target",
    type=click.Choice(["lfs", "git"]),
    default="lfs",
    show_default=True,
    help="Git LFS, or git itself.",
)
def export(include: tuple[str, ...], exclude: tuple[str, ...], target: str, **options: Any) -> None:
    """Have Git LFS, or git itself, keep the files of git-theta in all of history.

    REF is a branch or a tag, by default the current branch; ^COMMIT leaves a commit as it is, and
    all before it.
    """
    from git_theta.migrate.exporting import Export
    from git_theta.migrate.lfs import LfsFolder
    from git_theta.migrate.selection import Wish
    from git_theta.plugins import installed

    lfs = LfsFolder() if target == "lfs" else None
    if lfs and not run.text("config", "--get-regexp", r"^filter\.lfs\.(process|clean)$", ok=(0, 1)):
        raise GitError(
            "Expected the filter of Git LFS in git's configuration, found none",
            remedy="Run git lfs install, then the command again",
        )

    def conversion(
        repository: Repository, folder: Path, objects: Objects, new: NewObjects
    ) -> Conversion:
        return Export(repository, installed(), objects, new, lfs, _warn)

    wish = Wish(_patterns(include), _patterns(exclude))
    _run(wish, conversion, target="Git LFS" if lfs else "git", **options)


def _run(
    wish: Wish,
    conversion: Callable[..., Conversion],
    *,
    target: str,
    refs: tuple[str, ...],
    everything: bool,
    as_json: bool,
    **options: Any,
) -> None:
    from git_theta.migrate.contexts import Contexts
    from git_theta.migrate.migration import Migration, Request, working
    from git_theta.migrate.objects import Objects
    from git_theta.migrate.writer import NewObjects

    positive, without = _revisions(refs, everything=everything)
    request = Request(wish, positive, without, **options)
    with ExitStack() as stack:
        repository = stack.enter_context(Repository())
        folder = stack.enter_context(working(repository))
        objects = stack.enter_context(Objects())
        contexts = stack.enter_context(Contexts(folder))
        new = stack.enter_context(NewObjects(folder / "pack", objects.algorithm))
        made = conversion(repository, folder, objects, new)
        migration = Migration(repository, request, folder, objects, new, contexts, made, progress)
        report = migration.run()
    if as_json:
        click.echo(json.dumps(_as_json(report, request), indent=2))
    else:
        _tell(report, request, target)


def _revisions(refs: tuple[str, ...], *, everything: bool) -> tuple[Any, tuple[str, ...]]:
    from git_theta.migrate import refs as names

    without = [name[1:] for name in refs if name.startswith("^")]
    named = [name for name in refs if not name.startswith("^")]
    if everything and named:
        raise click.UsageError("--everything takes all branches and tags, and no REF besides")
    found = names.all_refs() if everything else names.named_refs(named)
    if everything and not run.text("symbolic-ref", "--quiet", "HEAD", ok=(0, 1)):
        found += names.named_refs(())  # it is on no branch
    commits = (
        run.text("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")
        for name in without
    )
    return tuple(found), tuple(commits)


def _patterns(arguments: tuple[str, ...]) -> tuple[str, ...]:
    from git_theta.git import patterns

    # A bare repository has no files: there is no folder that an argument could be the name of
    top = Path(run.text("rev-parse", "--show-toplevel", ok=(0, 128)) or os.devnull)
    return tuple(patterns.from_argument(argument, folder=top, top=top) for argument in arguments)


def _warn(message: str) -> None:
    for line in message.splitlines():
        click.echo(f"warning: {line}", err=True)


def _as_json(report: Report, request: Request) -> dict[str, Any]:
    return {
        "commits": report.commits,
        "rewritten": report.rewritten,
        "versions": report.versions,
        "bytes": report.nbytes,
        "refs": [move._asdict() for move in report.refs],
        "lost": report.lost,
        "unsigned": report.unsigned,
        "map": report.map_file,
        "others": report.others,
        "dry_run": request.dry_run,
    }


def _tell(report: Report, request: Request, target: str) -> None:
    if not report.rewritten:
        click.echo(f"Nothing to rewrite in {counted(report.commits, 'commit')}")
        return
    verb = "would become" if request.dry_run else "became"
    files = f"{counted(report.versions, 'version')} of files ({human_size(report.nbytes)})"
    click.echo(
        f"{report.rewritten} of {counted(report.commits, 'commit')} {verb} others; {files} "
        f"{'would go' if request.dry_run else 'went'} to {target}"
    )
    for move in report.refs:
        click.echo(f"  {move.old[:12]} -> {move.new[:12]}  {move.name}")
    if report.lost:
        _warn(f"{counted(len(report.lost), 'version')} could not be had, and stayed as before")
    if report.others:
        some = ", ".join(report.others[:SHOWN]) + (", ..." if len(report.others) > SHOWN else "")
        _warn(f"{len(report.others)} other refs still lead to the old history: {some}")
    if report.unsigned:
        _warn(f"{counted(report.unsigned, 'commit or tag', 'commits or tags')} lost a signature")
    if report.map_file:
        click.echo(
            f"Old and new names are in {report.map_file}; the old history is kept under "
            "refs/original/\nOthers have to clone anew once you push it: git push --force",
            err=True,
        )
