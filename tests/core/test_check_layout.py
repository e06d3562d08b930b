"""Layouts of formats that cannot be trusted: what lies outside, overlaps or contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest

from git_theta.checkpoint import Buffer, Layout, Tensor, check_layout
from git_theta.errors import CheckpointError

SIZE = 64


def group(dtype: str, shape: tuple[int, ...], *view: Any) -> Layout:
    """A group of the last 48 bytes of a file of `SIZE`."""
    return Layout((Buffer(dtype, 16, 48),), (Tensor("w", dtype, shape, 0, *view),))


@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout((Buffer("F32", 0, 0), Buffer("F32", 0, 64))),
        group("F32", (3, 4)),
        group("F32", ()),
        group("F32", (4, 3), 0, (1, 4)),
        group("F32", (10**7,), 11, (0,)),
        group("F32", (10**9, 0), 0, (10**9, 1)),
        group("F4", (94,), 2),
        group("F6_E2M3", (60,), 4),
        Layout((Buffer("F32", 0, 8),), (Tensor("w", "I32", (2,), 0),)),
    ],
)
def test_layout_inside_its_file_is_accepted(layout: Layout) -> None:
    check_layout(layout, SIZE)


@pytest.mark.parametrize(
    "layout",
    [
        Layout((Buffer("F32", 32, 36),)),
        Layout((Buffer("F32", -4, 8),)),
        Layout((Buffer("F32", 8, -4),)),
        Layout((Buffer("F32", 0, 8), Buffer("F32", 4, 8))),
        Layout((Buffer("F32", 8, 8), Buffer("F32", 0, 8))),
        Layout((Buffer("F32", 0, 6),)),
        Layout((Buffer("F33", 0, 8),)),
        Layout((Buffer("F32", 0, 8),), (Tensor("w", "F32", (2,), 1),)),
        Layout((Buffer("F32", 0, 8),), (Tensor("w", "F32", (2,), -1),)),
        Layout((Buffer("F32", 0, 8),), (Tensor("w", "F16", (2,), 0, 1),)),
        Layout((Buffer("F32", 0, 8),), (Tensor("w", "F32", (), 0), Tensor("w", "F32", (), 0))),
        group("F32", (13,)),
        group("F32", (12,), 1),
        group("F32", (-1,)),
        group("F32", (1,), -1),
        group("F32", (10**15,), 11, (0,)),
        group("F32", (2,), 0, (-1,)),
        group("F32", (2,), 0, (1, 1)),
        group("F32", (2, 7), 0, (6, 1)),
        group("F4", (3,)),
        group("F4", (2,), 1),
        group("F4", (2,), 0, (2,)),
        group("F6_E2M3", (4,), 1),
    ],
)
def test_layout_that_cannot_be_is_refused(layout: Layout) -> None:
    with pytest.raises(CheckpointError):
        check_layout(layout, SIZE)
