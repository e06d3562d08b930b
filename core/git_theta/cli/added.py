"""What an add stored: groups by form, bytes; as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from typing import NamedTuple

from git_theta.git.tracked import quoted
from git_theta.human import counted, human_size
from git_theta.metadata import parse
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId


class Stored(NamedTuple):
    """A parameter group that a new pack holds."""

    name: str
    update_type: str
    nbytes: int
    """Of its payload; its share of one that holds several."""


class ToldAs(NamedTuple):
    """How a group was told."""

    update_type: str
    rank: int | None
    """Of its factors, where it has some."""


class Added(NamedTuple):
    """A file that was added."""

    path: str
    form: str
    """Name of the update type that was asked for; "": none was."""
    nbytes: int
    """Bytes of all packs that were written."""
    groups: tuple[Stored, ...]
    """Those that the store did not have before."""
    told: Mapping[str, ToldAs] | None = None
    """Groups that an update changed; None: no update was given."""
    same: tuple[str, ...] = ()
    """Groups that it left as they were."""

    def as_json(self) -> dict[str, object]:
        """For scripts."""
        groups = [
            {"name": one.name, "update_type": one.update_type, "bytes": one.nbytes}
            for one in self.groups
        ]
        found: dict[str, object] = {"path": self.path, "bytes": self.nbytes, "groups": groups}
        if self.told is not None:
            found["updated"] = [
                {"name": name, "rank": told.rank} for name, told in self.told.items()
            ]
            found["unchanged"] = list(self.same)
        return found

    def as_text(self) -> str:
        """For people."""
        return self._told_text(self.told) if self.told is not None else self._forced_text()

    def _forced_text(self) -> str:
        forms = Counter(one.update_type for one in self.groups)
        count = forms.pop(self.form, 0)
        line = (
            f"{quoted(self.path)}: {count} of {len(self.groups)} new parameter groups are stored "
            f"as {self.form}, {human_size(self.nbytes)} in all"
        )
        others = ", ".join(f"{number} as {name}" for name, number in sorted(forms.items()))
        return f"{line}; {others}: {self.form} cannot tell them" if others else line

    def _told_text(self, told: Mapping[str, ToldAs]) -> str:
        stored = {one.name: one for one in self.groups}
        lines = [_line(name, how.rank, stored.get(name)) for name, how in told.items()]
        same = f", left {len(self.same)} as they were" if self.same else ""
        total = f"{human_size(self.nbytes)} stored"
        lines.append(
            f"Updated {counted(len(told), 'parameter group')} of {quoted(self.path)}{same}; {total}"
        )
        others = [
            name
            for name, how in told.items()
            if name in stored and stored[name].update_type != how.update_type
        ]
        if others:
            lines.append(
                f"{len(others)} of them are stored in another form: they are too short, or were "
                "told too often, to be read as they were told"
            )
        return "\n".join(lines)


def _line(name: str, rank: int | None, stored: Stored | None) -> str:
    form = f"rank {rank}" if rank else ""
    size = human_size(stored.nbytes) if stored else "known"
    return f"{size:>9}  {stored.update_type if stored else '':10}  {form:9}  {quoted(name)}"


def describe(store: LocalStore, before: Set[str], path: str, text: bytes, form: str) -> Added:
    """What the store has of a file that it had not before.

    Parameters
    ----------
    store
        Where the file was stored.
    before
        The packs that were there.
    path, text
        The file and its metadata; empty for an empty file.
    form
        Name of the update type that was asked for.
    """
    new = store.packs.packs() - before
    nbytes = sum(store.packs.path(pack).stat().st_size for pack in new)
    groups = parse(text, path).groups if text else ()
    places = store.find(BufferId(group.dtype, group.digest) for group in groups)
    stored = []
    for group in groups:
        found = places.get(BufferId(group.dtype, group.digest), ())
        location = next((place for place in found if place.pack in new), None)
        if location and group.nbytes:
            payload = store.pack(location.pack).payload(location.payload)
            share = payload.nbytes * group.nbytes // sum(size for _, size in payload.buffers)
            stored.append(Stored(group.name, payload.update[0], share))
    return Added(path, form, nbytes, tuple(stored))
