"""A form that a user asked for is taken where it proves itself, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from git_theta.digests import digest
from git_theta.plugins import Plugins
from git_theta.source import BytesSource
from git_theta.storage.buffers import store_buffers
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.storage.wanted import Wanted
from git_theta.updates.choose import Form
from git_theta.updates.delta import Delta
from git_theta.updates.grounds import Bases, Candidate
from git_theta.updates.interface import Numbers

_RNG = np.random.default_rng(0)
BASE = _RNG.standard_normal(20_000, np.float32)
NEAR = BASE + np.float32(1e-4) * _RNG.standard_normal(20_000, np.float32)
FAR = _RNG.standard_normal(20_000, np.float32)


def _wanted(values: np.ndarray, *bases: BufferId, form: Form | None = None) -> Wanted:
    data = BytesSource(values.tobytes())
    buffer = BufferId("F32", digest(data))
    near = Bases([Candidate(base, values.shape) for base in bases])
    return Wanted(((buffer, data.size),), data, near, values.shape, form=form or Form())


def _stored_as(folder: Path, values: np.ndarray, form: Form) -> str:
    """Store values that may stand on ``BASE``; the name of the update type that they got."""
    plugins = Plugins()
    with LocalStore(folder) as store:
        (base,) = store_buffers(store, plugins, [_wanted(BASE, form=Form("dense"))])
        ((buffer, location),) = store_buffers(
            store, plugins, [_wanted(values, base, form=form)]
        ).items()
        data = Reader(store, plugins).open(buffer)
        assert bytes(data.read(0, data.size)) == values.tobytes()
        return store.pack(location.pack).payload(location.payload).update[0]


@pytest.mark.parametrize(
    ("values", "form", "expected"),
    [
        (NEAR, "", "delta"),
        (NEAR, "dense", "dense"),
        (FAR, "", "dense"),
        (FAR, "delta", "delta"),
        (FAR, "patch", "dense"),  # it tells no floats
    ],
    ids=["chosen", "dense", "chosen-dense", "larger", "impossible"],
)
def test_a_form_is_taken_even_where_another_is_smaller(
    tmp_path: Path, values: np.ndarray, form: str, expected: str
) -> None:
    assert _stored_as(tmp_path, values, Form(form)) == expected


def test_a_given_update_is_stored_if_it_gives_the_exact_bytes(tmp_path: Path) -> None:
    base, near = (Numbers(BytesSource(x.tobytes()), "F32", x.shape) for x in (BASE, NEAR))
    update = Delta().encode(near, [base])
    assert _stored_as(tmp_path / "right", NEAR, Form("delta", update)) == "delta"
    assert _stored_as(tmp_path / "wrong", FAR, Form("delta", update)) == "dense"
