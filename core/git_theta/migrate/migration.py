"""A migration from its first look to its last: read top to bottom.

survey (what is to do) -> prepare (fetch what is missing) -> rewrite -> hand over to git -> compare
every file and every tree -> move all refs at once. Until the last step git sees nothing of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from git_theta.errors import GitError, MissingPackError, StoreError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.migrate import refs as refnames
from git_theta.migrate.compare import compare_trees
from git_theta.migrate.contexts import Contexts
from git_theta.migrate.conversion import Conversion
from git_theta.migrate.history import History
from git_theta.migrate.objects import Objects
from git_theta.migrate.refs import Move, Ref
from git_theta.migrate.rewrite import Trees
from git_theta.migrate.selection import Selection, Wish
from git_theta.migrate.worktrees import (
    Follower,
    WorkTreeOf,
    affected,
    check_clean,
    check_room,
    follow,
    work_trees,
)
from git_theta.migrate.writer import NewObjects
from git_theta.storage.lock import FileLock

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
NAMED = 8
"""Of how many lost files a message says more."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to migrate, and how."""

    wish: Wish
    refs: tuple[Ref, ...]
    """What is rewritten; others that lead there stay."""
    without: tuple[str, ...] = ()
    """Commits that stay as they are, with all that they descend from."""
    map_file: Path | None = None
    """Where old and new names go; None: a file of the store."""
    allow_missing: bool = False
    """Whether versions that cannot be had stay as they are."""
    dry_run: bool = False
    force: bool = False
    """Whether to overwrite what an earlier migration kept under refs/original/."""


@dataclass(slots=True)
class Report:
    """What was done, or would be."""

    commits: int
    rewritten: int
    versions: int
    """Versions of files that went another way."""
    nbytes: int
    """Bytes of these files together."""
    refs: list[Move] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    """Blobs that stayed as they were."""
    unsigned: int = 0
    """Commits and tags that lost a signature."""
    map_file: str = ""
    others: list[str] = field(default_factory=list)
    """Branches, tags and a stash that still lead to commits which are others now."""


class Migration:
    """One migration; ``conversion`` is made for git's objects and those to come."""

    def __init__(
        self,
        repository: Repository,
        request: Request,
        folder: Path,
        objects: Objects,
        new: NewObjects,
        contexts: Contexts,
        conversion: Conversion,
        progress: Progress,
    ) -> None:
        self._repository, self._request, self._folder = repository, request, folder
        self._objects, self._new, self._conversion = objects, new, conversion
        self._progress = progress
        self._selection = Selection(contexts, conversion.way, request.wish)
        self._trees = Trees(conversion.way, self._selection, contexts, objects, new, self._convert)
        self._refs = [
            ref for ref in request.refs if refnames.target(objects, ref.oid)[1] == "commit"
        ]
        tips = [refnames.target(objects, ref.oid)[0] for ref in self._refs]
        revisions = [*dict.fromkeys(tips), *(f"^{oid}" for oid in request.without)]
        self._history = History(
            objects, self._trees, revisions, by_lines=not self._selection.by_driver
        )
        self._sizes: dict[str, int] = {}
        self._converted: dict[str, str] = {}
        self._paths: dict[str, str] = {}
        self._advance: Callable[[int], None] = lambda _: None

    def run(self) -> Report:
        """Migrate, or tell what that would do."""
        self._survey()
        report = Report(
            self._history.count,
            len(self._history.touched),
            len(self._sizes),
            sum(self._sizes.values()),
        )
        if self._request.dry_run or not self._history.touched:
            return report
        trees = [t.tree for t in affected(work_trees(), dict(self._refs))]
        stats = {tree.top: check_clean(tree) for tree in trees}
        if not self._request.force:
            tips = ((ref.name, refnames.target(self._objects, ref.oid)[0]) for ref in self._refs)
            refnames.check_originals([n for n, tip in tips if tip in self._history.touched])
        report.lost = self._prepare()
        self._rewrite(report)
        ours = {ref.name for ref in self._refs}
        leading = refnames.leading_to(self._history.first)
        report.others = [name for name in leading if name not in ours]
        followers = self._hand_over(report, trees)
        self._verify()
        report.map_file = str(self._write_map(report.refs))
        refnames.move(report.refs, f"git theta migrate: {self._conversion.way.target or 'git'}")
        for tree, commit in followers:
            follow(tree, commit, self._conversion.is_text, stats[tree.top])
        return report

    def _survey(self) -> None:
        self._history.survey()
        wish = self._request.wish
        if wish.above:
            self._selection.only = frozenset(
                path
                for oid, paths in self._trees.chosen.items()
                if (self._conversion.weigh(oid) or 0) >= wish.above
                for path in paths
            )
            self._trees.forget()
            self._history.survey()
        for oid, paths in self._trees.chosen.items():
            size = self._conversion.weigh(oid)
            if size is not None:
                self._sizes[oid] = size
                self._paths[oid] = next(iter(paths))

    def _prepare(self) -> dict[str, str]:
        lost = self._conversion.prepare({oid: self._paths[oid] for oid in self._sizes})
        if lost and not self._request.allow_missing:
            listed = [f"\n  {self._paths[oid]}: {why}" for oid, why in lost.items()]
            more = f"\n  and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
            raise MissingPackError(
                f"{len(lost)} of {len(self._sizes)} versions of files cannot be had, so history "
                f"would not be the same:{''.join(listed[:NAMED])}{more}",
                remedy="Get them from another clone; or leave these versions as they are, with "
                "--allow-missing",
            )
        self._trees.lost = lost.keys()
        for oid in lost:
            del self._sizes[oid]
        return lost

    def _rewrite(self, report: Report) -> None:
        """Write everything anew."""
        report.versions, report.nbytes = len(self._sizes), sum(self._sizes.values())
        with (
            self._progress("Converting", 2 * report.nbytes) as self._advance,
            (self._folder / "pairs").open("w") as pairs,
        ):
            self._history.rewrite(self._new, lambda old, new: print(old, new, file=pairs))
        unsigned: set[str] = set()
        for name, oid in self._refs:
            rename = self._history.new_name
            now = refnames.rewritten(self._objects, self._new, oid, rename, unsigned)
            if now != oid:
                report.refs.append(Move(name, oid, now))
        report.unsigned = self._history.unsigned + len(unsigned)
        report.rewritten = len(self._history.renamed)

    def _convert(self, oid: str, path: str) -> str:
        if oid not in self._sizes:
            return oid
        if oid not in self._converted:
            before = [self._objects.find(f"{commit}:{path}") for commit in self._history.parents]
            near = [self._converted.get(found.oid, "") for found in before if found]
            near = [new for new in dict.fromkeys(near) if new in self._new]
            self._converted[oid] = self._conversion.convert(
                oid, path, self._history.commit, near, self._advance
            )
        return self._converted[oid]

    def _hand_over(self, report: Report, trees: list[WorkTreeOf]) -> list[Follower]:
        """Give new objects to git; the work trees that have to follow."""
        self._new.hand_over()
        self._objects.close()
        commits = {move.name: refnames.target(self._objects, move.new)[0] for move in report.refs}
        followers = affected(trees, commits)
        for tree, commit in followers:
            check_room(tree, commit)
        return followers

    def _verify(self) -> None:
        with self._progress("Comparing", sum(self._sizes.values())) as advance:
            for oid, new in self._converted.items():
                self._conversion.verify(oid, new, self._paths[oid], advance)
        compare_trees(self._folder / "pairs", self._converted)

    def _write_map(self, moves: list[Move]) -> Path:
        names: Mapping[str, str] = self._history.renamed
        tags = {move.old: move.new for move in moves if move.old not in names}
        path = self._request.map_file or self._repository.folder / "theta" / "migrated"
        text = "".join(f"{old} {new}\n" for old, new in {**names, **tags}.items())
        try:
            with path.open("w") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
        except OSError as fault:
            raise StoreError(
                f"Cannot write the map of old and new names to {path}: {fault}",
                remedy="Nothing has changed; name another file with --map",
            ) from fault
        return path


@contextmanager
def working(repository: Repository) -> Iterator[Path]:
    """A folder for one migration at a time, which goes at its end.

    Raises
    ------
    GitError
        When another one runs, or this repository does not have all of its history.
    """
    if run.text("rev-parse", "--is-shallow-repository") == "true":
        raise GitError(
            "Expected all of history, found a shallow clone",
            remedy="Fetch the rest: git fetch --unshallow",
        )
    home = repository.folder / "theta"
    home.mkdir(parents=True, exist_ok=True)
    folder, lock = home / "migrate", FileLock(home / "migrate.lock")
    try:
        if not lock.alone():
            raise GitError(
                f"{repository.folder} is being migrated by another process, or its disk cannot "
                "lock files",
                remedy="Wait until the other git theta migrate is done",
            )
        shutil.rmtree(folder, ignore_errors=True)  # what a killed one left
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as fault:
        raise StoreError(
            f"Cannot work in {folder}: {fault}",
            remedy="Nothing in git has changed; free some space, then run the command again",
        ) from fault
    finally:
        lock.close()
