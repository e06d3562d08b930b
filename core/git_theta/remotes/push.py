"""Sends the packs that pushed commits need and the remote's store lacks.

git moves the refs of a remote afterwards: a commit that a remote has can be checked out from there.
What is asked for is what the commits name that the remote does not have yet, and what the pushed
trees name that the store never acknowledged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from git_theta.errors import GitError, PackError, StoreError
from git_theta.git.repository import Repository
from git_theta.progress import progress
from git_theta.remotes.config import named, remotes
from git_theta.remotes.needs import Need, needs_of
from git_theta.remotes.plan import Plan, Target, listed, make_plan, open_target
from git_theta.remotes.ref import REF, warn_of_deletion
from git_theta.remotes.trust import printable

if TYPE_CHECKING:
    from git_theta.remotes.surplus import Surplus
    from git_theta.storage.interface import Store


class Pushed(NamedTuple):
    """What a push is about."""

    remote: str
    """Name of the git remote, or the URL that git was given in place of one."""
    tips: tuple[str, ...]
    """Objects that refs of the remote will name."""
    known: tuple[str, ...] = ()
    """Objects that refs of the remote name now, of those that this repository has."""
    everything: bool = False
    """Whether to ask about all of history, instead of what the remote does not have yet."""
    doubting: bool = False
    """Whether to ask about packs that the store acknowledged before: it may have lost them."""


def push(repository: Repository, pushed: Pushed, *, dry_run: bool = False) -> Plan | None:
    """Send what a push needs; gives what was sent, None where it is not about git-theta's files.

    Parameters
    ----------
    repository
        Where commits and packs are.
    pushed
        What is pushed, and where.
    dry_run
        Only tell what would be sent.

    Raises
    ------
    MissingPackError
        When neither the remote's store nor this repository has a pack that a new commit needs.
    StoreError
        When the store cannot be asked or written to.
    """
    pushed = pushed._replace(remote=named(pushed.remote))
    if not pushed.tips:  # branches are deleted
        return None
    with ThreadPoolExecutor(1) as beside:  # both are many short runs of git
        opened = beside.submit(open_target, repository, pushed.remote)
        new, old = _needs(repository, pushed)
    if not new and not old:
        return None
    target = opened.result()
    if not (target.record.has_history or pushed.everything):
        # The remote may have commits whose packs nobody ever sent to this store.
        whole = list(needs_of(repository, *pushed.tips, *_tracking(pushed.remote)))
        if target.chosen.by == "config":
            new = list(needs_of(repository, *pushed.tips))
        seen = {need.blob for need in new}
        old = [need for need in whole if need.blob not in seen]
    if not pushed.doubting:
        old = [need for need in old if need.packs.keys() - target.record.packs]
    needs = [*new, *old]
    record = target.record
    untouched = not (record.packs or record.has_history or pushed.known or pushed.everything)
    asks = dry_run or pushed.doubting or not untouched
    plan = make_plan(repository, target, new, old, asks=asks)
    if dry_run:
        plan.surplus = _surplus(repository, plan, needs, pushed.tips)
        return plan
    try:
        _carry_out(repository, target, plan, pushed, needs)
    except (StoreError, PackError):
        if asks:
            raise
        # The store may have some of it, and take nothing from who pushes, or not what lies here.
        left = make_plan(repository, target, new, old, asks=True)
        if left.send.keys() == plan.send.keys():
            raise
        plan = left
        _carry_out(repository, target, plan, pushed, needs)
    return plan


def _carry_out(
    repository: Repository, target: Target, plan: Plan, pushed: Pushed, needs: Sequence[Need]
) -> None:
    """Send what a plan says; what needs no store goes on while that is asked what it has."""
    pointers = plan.packs if target.chosen.url.startswith("lfs://") else {}
    if not pushed.everything:
        pointers = {pack: size for pack, size in pointers.items() if pack not in target.record}
    trusting = not pushed.everything
    build = partial(target.ref.build, pointers, plan.hints, trusting=trusting)
    if plan.send:
        _send(repository, target.store, plan)
    with ThreadPoolExecutor(2) as beside:  # while the store answers
        surplus = beside.submit(_surplus, repository, plan, needs, pushed.tips)
        built = beside.submit(build) if trusting else None
        if plan.send:
            _check_sent(target, plan)
    target.ref.publish(built.result if built else build, needed=bool(plan.hints))
    target.record.add(plan.packs)
    target.record.add_history()
    if plan.sent:
        plan.surplus = surplus.result()


def _check_sent(target: Target, plan: Plan) -> None:
    """Ask the store whether it has what it took: servers answer without looking."""
    lost = target.store.lost(plan.send)
    if lost:
        raise StoreError(
            f"{printable(plan.chosen.url)} took what was sent and has not got {len(lost)} packs of "
            f"{len(plan.send)}:{listed(lost)}",
            remedy="Ask who runs the server; of Git LFS, git lfs env shows which one it is",
        )


def _surplus(
    repository: Repository, plan: Plan, needs: Sequence[Need], tips: Sequence[str]
) -> list[Surplus]:
    if not plan.send:
        return []
    from git_theta.remotes.surplus import find_surplus  # not for a push of no concern

    return find_surplus(repository, plan.send, needs, tips)


def _needs(repository: Repository, pushed: Pushed) -> tuple[list[Need], list[Need]]:
    """Needs of commits that the remote does not have, and other ones of the pushed trees."""
    if pushed.everything:
        return list(needs_of(repository, *pushed.tips)), []
    there = ("--not", *pushed.known, *_tracking(pushed.remote))
    new = list(needs_of(repository, *pushed.tips, *there))
    found = repository.objects([f"{tip}^{{tree}}" for tip in pushed.tips])
    trees = list(dict.fromkeys(tree[0] for tree in found if tree))
    seen = {need.blob for need in new}
    old = [need for need in needs_of(repository, *trees) if need.blob not in seen] if trees else []
    return new, old


def _tracking(remote: str) -> list[str]:
    """What names the commits that a remote had when it was last asked."""
    return [f"--remotes={remote}"] if remote in remotes() else []


def _send(repository: Repository, store: Store, plan: Plan) -> None:
    files = {pack: repository.store.packs.path(pack) for pack in plan.send}
    with progress(f"Sending weights to {plan.chosen.url}", plan.nbytes) as show:

        def advance(nbytes: int) -> None:
            plan.sent += nbytes
            show(nbytes)

        store.put(files, advance)


def parse_updates(repository: Repository, remote: str, lines: Iterable[str]) -> Pushed:
    """What git tells a pre-push hook on stdin: a line for every ref that it would change.

    Raises
    ------
    GitError
        When a line is not what git writes.
    """
    tips: dict[str, None] = {}
    there: dict[str, None] = {}
    for line in lines:
        fields = line.split(" ")
        if len(fields) != 4:
            raise GitError(f"Expected LOCAL-REF ID REMOTE-REF ID on stdin, found {line!r}")
        _, new, name, old = fields
        if new.strip("0"):
            tips[new] = None
        elif name == REF:
            warn_of_deletion(remote)
        if old.strip("0"):
            there[old] = None
    found: Mapping[str, object] = dict(zip(there, repository.objects(list(there)), strict=True))
    return Pushed(remote, tuple(tips), tuple(oid for oid in there if found[oid]))
