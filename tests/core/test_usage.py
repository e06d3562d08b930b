"""What versions are read from: views have no bytes of their own, values count once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from synthetic import clean_file, plugins, synthetic_file

from git_theta.metadata import parse
from git_theta.storage.local import LocalStore
from git_theta.usage import Ledger, Tallies

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal(20_000, dtype=np.float32).tobytes()


def test_views_and_empty_groups_have_no_payload(tmp_path: Path) -> None:
    data = synthetic_file(
        [("F32", b"", False, VALUES), ("F32", b"", False, b"")],
        [
            ("all", "F32", (20_000,), 0, 0, None),
            ("none", "F32", (0,), 1, 0, None),
            ("some", "F32", (10,), 0, 5, (2,)),
        ],
    )
    with LocalStore(tmp_path) as store:
        metadata = parse(clean_file(data, store))
        ledger = Ledger(store, plugins())
        use = ledger.use(metadata, "model.bin")
    assert use.lacking == ()
    tallies = Tallies(ledger)
    tallies.add(use)
    tallies.add(use)
    found = {tally.name: tally for tally in tallies.sorted()}
    assert {name: list(tally.updates) for name, tally in found.items()} == {
        "": ["dense"],
        "all": ["dense"],
        "none": ["empty"],
        "some": ["view"],
    }
    assert (found["all"].values, found["all"].logical) == (1, len(VALUES))
    assert (found["some"].values, found["some"].logical, found["some"].stored) == (0, 40, 0)
    assert found["all"].stored == found["all"].reads < len(VALUES)


def test_a_buffer_that_only_views_look_at_is_told_by_their_name(tmp_path: Path) -> None:
    data = synthetic_file(
        [("F32", b"", False, VALUES)],
        [("half", "F32", (10_000,), 0, 0, (2,)), ("odd", "F32", (10_000,), 0, 1, (2,))],
    )
    with LocalStore(tmp_path) as store:
        metadata = parse(clean_file(data, store))
        ledger = Ledger(store, plugins())
        tallies = Tallies(ledger)
        tallies.add(ledger.use(metadata, "model.bin"))
    kinds = [(tally.kind, tally.name, list(tally.updates)) for tally in tallies.sorted()]
    assert kinds == [
        ("skeleton", "", ["dense"]),
        ("group", "half", ["view"]),
        ("group", "odd", ["view"]),
        ("buffer", "half", ["dense"]),
    ]


def test_an_unknown_file_is_all_skeleton(tmp_path: Path) -> None:
    data = RNG.bytes(3_000_000)
    with LocalStore(tmp_path) as store:
        ledger = Ledger(store, plugins())
        use = ledger.use(parse(clean_file(data, store)), "model.bin")
        assert {place.item.number for place in use.places} == {0}
        logical = sum(place.item.nbytes for place in use.places)
        assert len(data) < logical < len(data) + 10_000
        (lost,) = {place.key[0] for place in use.places}
        store.remove(lost)
        ledger = Ledger(store, plugins())
        assert ledger.use(use.metadata, "model.bin").lacking == ("the skeleton",)
