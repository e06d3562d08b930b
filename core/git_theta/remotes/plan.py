"""What a push has to send: found from what commits need, what a store lacks and what lies here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from git_theta.errors import MissingPackError, ThetaError
from git_theta.git.repository import Repository
from git_theta.git.tracked import quoted
from git_theta.remotes.acknowledged import Acknowledged
from git_theta.remotes.config import Chosen, choose, identity_of, open_url
from git_theta.remotes.needs import Need, fresh_hints, total
from git_theta.remotes.ref import PacksRef, print_hints

if TYPE_CHECKING:
    from git_theta.remotes.surplus import Surplus
    from git_theta.storage.folder import PackFolder
    from git_theta.storage.interface import Store

SHOWN = 5
"""So many packs are named in a message."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a push goes."""

    chosen: Chosen
    store: Store
    ref: PacksRef
    record: Acknowledged


def open_target(repository: Repository, remote: str) -> Target:
    """Find the store of a remote; errors as in :func:`~git_theta.remotes.config.open_store`."""
    chosen = choose(remote)
    record = Acknowledged(repository.folder / "theta" / "remotes", identity_of(chosen))
    return Target(chosen, open_url(chosen.url), PacksRef(repository, remote), record)


@dataclass(slots=True)
class Plan:
    """What a push has to send."""

    chosen: Chosen
    packs: dict[str, int] = field(default_factory=dict)
    """Names and bytes of the packs that pushed commits need and that are in question."""
    send: dict[str, int] = field(default_factory=dict)
    """Those that this repository has and the store lacks, or was never asked about."""
    sent: int = 0
    """Bytes that went there: less than those of ``send`` where the store had some already."""
    hints: dict[str, bytes] = field(default_factory=dict)
    """``pack`` lines to publish, by the id of metadata whose own ones name packs of the past."""
    surplus: list[Surplus] = field(default_factory=list)
    """Packs to send that hold more than the pushed commits need."""
    broken: list[str] = field(default_factory=list)
    """Packs that no place has, needed by commits that the remote has already."""

    @property
    def nbytes(self) -> int:
        """Bytes of the packs to send."""
        return sum(self.send.values())


def make_plan(
    repository: Repository, target: Target, new: list[Need], old: list[Need], *, asks: bool
) -> Plan:
    """What to send: what the store says that it lacks, all of it where it need not be asked.

    Parameters
    ----------
    repository, target
        From where, and where to.
    new, old
        What commits need that the remote does not have, and what others need.
    asks
        Whether the store is asked even where all that is needed lies here.

    Raises
    ------
    MissingPackError
        When neither the store nor this repository has a pack that a new commit needs.
    StoreError
        When the store cannot be asked.
    """
    plan = Plan(target.chosen)
    absent, lost = _look(repository, target.store, total([*new, *old]), asks=asks)
    unknown = [need for need in [*new, *old] if not need.packs or need.packs.keys() & lost]
    replaced = _replace(repository, target, unknown) if unknown else {}
    required = {need.blob for need in new}
    nowhere: list[Need] = []
    for need in [*new, *old]:
        fresh = replaced.get(need.blob)
        if fresh is not None:
            plan.packs |= fresh.packs
            plan.send |= fresh.send
            if fresh.hints:
                plan.hints[need.blob] = fresh.hints
            continue
        plan.packs |= need.packs
        plan.send |= {p: n for p, n in need.packs.items() if p in absent and p not in lost}
        gone = need.packs.keys() & lost
        if (gone or not need.packs) and need.blob in required:
            nowhere.append(need)
        elif gone:
            plan.broken += sorted(gone - {*plan.broken})
            plan.packs = {pack: size for pack, size in plan.packs.items() if pack not in gone}
    if nowhere:
        raise _nowhere(target.chosen, repository, nowhere, lost)
    return plan


def _look(
    repository: Repository, store: Store, packs: Mapping[str, int], *, asks: bool
) -> tuple[set[str], set[str]]:
    """Packs that a store lacks, or may lack if it is not asked, and what of them is not here."""
    with ThreadPoolExecutor(1) as beside:  # both take a while, and one of them only waits
        opened = beside.submit(_open, repository)
        absent = store.missing(packs) if asks else set(packs)
    here = opened.result()
    if not asks and here.missing(absent):
        absent = store.missing(packs)
    return absent, here.missing(absent)


def _open(repository: Repository) -> PackFolder:
    """The packs that lie here; what else a push imports is imported by then as well."""
    import git_theta.remotes.surplus  # noqa: F401

    return repository.store.packs


class _Fresh(NamedTuple):
    """What metadata needs whose own hints are out of date."""

    packs: dict[str, int]
    send: dict[str, int]
    hints: bytes
    """Lines to publish; nothing when they are published."""


def _replace(repository: Repository, target: Target, needs: Iterable[Need]) -> dict[str, _Fresh]:
    """Where what lay in packs of the past lies now, at the store or else here, by metadata."""
    found: dict[str, _Fresh] = {}
    needs = list(needs)
    published = target.ref.hints([need.blob for need in needs])
    absent = target.store.missing(total(published.values()))
    for need in needs:
        there = published.get(need.blob)
        if there and not there.packs.keys() & absent:
            found[need.blob] = _Fresh(there.packs, {}, b"")
            continue
        text = repository.blob(need.blob).replace(b"\r\n", b"\n")
        try:
            hints = fresh_hints(repository, text, need.path)
        except ThetaError:
            continue  # told together, with all packs that are nowhere
        packs = {hint.pack: hint.nbytes for hint in hints}
        lacking = target.store.missing(packs)
        send = {pack: size for pack, size in packs.items() if pack in lacking}
        found[need.blob] = _Fresh(packs, send, b"" if packs == need.packs else print_hints(hints))
    return found


def _nowhere(
    chosen: Chosen, repository: Repository, needs: list[Need], lost: set[str]
) -> MissingPackError:
    paths = "".join(f"\n  {quoted(need.path)} ({need.blob[:12]})" for need in needs[:SHOWN])
    more = f"\n  and {len(needs) - SHOWN} more" if len(needs) > SHOWN else ""
    packs = [pack for pack in total(needs) if pack in lost]
    return MissingPackError(
        f"Pushed commits need {len(packs)} packs that neither {chosen.url} nor "
        f"{repository.store.folder} has:{listed(packs)}\nfor{paths}{more}",
        remedy="Get them with git theta fetch --all, or push from the clone that made the commits",
    )


def listed(packs: Iterable[str]) -> str:
    """A line for each of a few packs, for a message."""
    named = sorted(packs)
    more = f"\n  and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return "".join(f"\n  pack {pack}" for pack in named[:SHOWN]) + more
