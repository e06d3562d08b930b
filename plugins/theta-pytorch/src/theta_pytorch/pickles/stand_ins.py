"""What the pickle machine builds in place of objects: records without any behaviour.

Lists, tuples, short strings, numbers and None are themselves. Sets become lists, dicts become
:class:`Pairs`, so that no number or object of a file is ever hashed by value.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A function or class that a pickle names; never imported."""

    module: str
    """Name of its module."""
    name: str
    """Its name in the module."""


class Pairs(list[object]):
    """A dict as a flat list: key, value, key, value."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Inert:
    """An object that a pickle would build by calling something; here nothing is called."""

    type: object
    """What would be called; a :class:`Global` in every honest file."""
    args: object
    """The arguments; a tuple in every honest file."""
    state: object = None
    """The state that BUILD would set; its attributes, mostly :class:`Pairs`."""
    items: list[object] | None = None
    """What would be appended to it."""
    pairs: Pairs | None = None
    """What would be set as its items."""


@dataclass(slots=True, eq=False)
class Persistent:
    """An object that the pickle keeps outside of itself, such as a storage."""

    id: object
    """What the pickle says about it; for torch a tuple."""


@dataclass(frozen=True, slots=True, eq=False)
class Opaque:
    """A value that is of no use here: bytes, very long strings and very large numbers."""


OPAQUE = Opaque()
"""The one opaque value."""
