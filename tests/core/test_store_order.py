"""Whatever is tried first, everything that shall be stored is stored."""

from __future__ import annotations

import blake3
import numpy as np
import pytest

from git_theta.plugins import installed
from git_theta.source import BytesSource
from git_theta.storage.buffers import store_buffers
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.storage.wanted import Wanted
from git_theta.updates.grounds import Bases, Candidate


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("sizes", [(1, 2, 3, 4), (4, 3, 2, 1), (2, 1, 4, 3), (1,) * 40, (1, 9)])
def test_buffers_that_are_tried_before_others_take_nobody_s_place(
    tmp_path, monkeypatch, sizes, threads
):
    monkeypatch.setenv("GIT_THETA_THREADS", threads)
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(1024 * size, np.float32).tobytes() for size in (9, *sizes)]
    base, *buffers = [BufferId("F32", blake3.blake3(value).digest()) for value in values]
    with LocalStore(tmp_path) as store:
        store_buffers(store, installed(), [_wanted(base, values[0], Bases())])
        bases = Bases([Candidate(base)])
        wanted = [
            _wanted(buffer, value, bases if number % 3 else Bases())
            for number, (buffer, value) in enumerate(zip(buffers, values[1:], strict=True))
        ]
        assert store_buffers(store, installed(), wanted).keys() == set(buffers)


def _wanted(buffer, value, bases):
    return Wanted(((buffer, len(value)),), BytesSource(value), bases)
