"""The loops of ``kernels.c``, where they were compiled; elsewhere :data:`kernels` is None.

A wheel is built without them where there is no compiler, and numpy does the same: each caller has
both. What either gives is equal bit for bit, but for :meth:`Kernels.weighed`, which only looks for
factors. ``GIT_THETA_COMPILED=0`` leaves them out.

A library is loaded by ctypes: it knows no Python, so it needs no headers of one and fits all.
"""

from __future__ import annotations

import ctypes
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 2**16
"""Words of a block of changes."""
MOST_RANK = 64
"""The greatest rank, which is that of the kernels' buffer, too"""
MOST_BYTES = 2**21
"""and the bytes of a right factor whose products take no longer than numpy's BLAS does."""
_LOW_RANK = {("BF16", 4): "bf16", ("BF16", 8): "bf16_wide", ("F32", 8): "f32_wide"}
_NAMES = {0: "kernels.so", 2: "kernels.so", 3: "kernels-v3.so", 4: "kernels-v4.so"}


class Kernels:
    """What ``kernels.c`` offers, for arrays whose sizes are checked here."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self._library = library
        self._functions: dict[str, Any] = {}
        self.name = name
        """The library's file."""

    def multiplies(self, right: Array, dtype: str) -> bool:
        """Whether :meth:`low_rank` takes numbers of a dtype, and right factors of such a length."""
        return (dtype, right.itemsize) in _LOW_RANK and self.pays(right)

    def low_rank(self, left: Array, right: Array, base: Array, dtype: str, out: Array) -> None:
        """``round(base + left @ right)`` as :func:`git_theta.updates.factors.add` rounds.

        Parameters
        ----------
        left
            [rows, rank], floats, contiguous.
        right
            [rank, width] of the same floats, each row contiguous.
        base, out
            [rows * width], bits of ``dtype``.
        """
        kind = _LOW_RANK[dtype, left.itemsize]
        (rows, rank), width = left.shape, right.shape[1]
        _expect(right.shape[0] == rank and right.strides[1] == right.itemsize == left.itemsize)
        _expect(0 < rank <= MOST_RANK)
        _expect(base.size == out.size == rows * width and base.itemsize == out.itemsize)
        _expect(bool(out.flags.writeable))
        base = _aligned(base)
        self._call(
            f"low_rank_{kind}",
            *(left, _Rows(right), base, out),
            *(rows, width, rank, right.strides[0] // right.itemsize),
        )

    def pays(self, right: Array) -> bool:
        """Whether a product with such a right factor [rank, columns] is not slower than numpy's."""
        return 0 < len(right) <= MOST_RANK and right.nbytes <= MOST_BYTES

    def missed(self, new: Array, predicted: Array, shift: int, mask: int, out: Array) -> None:
        """``new - predicted`` in zigzag order, sorted by ``predicted >> shift & mask``."""
        self._sorted("missed", new, predicted, shift, mask, out)

    def restored(self, stored: Array, predicted: Array, shift: int, mask: int, out: Array) -> None:
        """What :meth:`missed` made ``stored`` of."""
        self._sorted("restored", stored, predicted, shift, mask, out)

    def _sorted(
        self, name: str, one: Array, predicted: Array, shift: int, mask: int, out: Array
    ) -> None:
        _expect(one.dtype == predicted.dtype == out.dtype and mask < 2048)
        _expect(one.size == predicted.size == out.size < 2**31 and bool(out.flags.writeable))
        one, predicted = _aligned(one), _aligned(predicted)
        self._call(f"{name}_{8 * out.itemsize}", one, predicted, out, out.size, shift, mask)

    def split(self, words: Array, rotate: bool) -> list[Array]:
        """The byte planes of words of 2, 4 or 8 bytes, the lowest first."""
        words, count, width = _aligned(words), words.size, words.itemsize
        planes = np.empty(width * count, np.uint8)
        self._call(f"split_{8 * width}", words, planes, count, int(rotate))
        return [planes[k * count : (k + 1) * count] for k in range(width)]

    def join(self, planes: Sequence[Array], rotate: bool) -> Array:
        """The words whose planes are given, each of them bytes."""
        width, count = len(planes), planes[0].size
        _expect(all(plane.size == count and plane.itemsize == 1 for plane in planes))
        words = np.empty(count, f"<u{width}")
        starts = (ctypes.c_void_p * width)(*(plane.ctypes.data for plane in planes))
        self._call(f"join_{8 * width}", starts, words, count, int(rotate))
        return words

    def changes(self, new: Array, base: Array) -> tuple[Array, Array, Array, Array]:
        """Where and how words differ, as :mod:`git_theta.updates.changes` tells it.

        Returns
        -------
        tuple
            Counts of each block of 65,536 words; then of each change: 16 bits of the gap before it,
            its new bits, and its difference in zigzag order.
        """
        _expect(new.dtype == base.dtype and new.size == base.size)
        counts = np.empty(-(-new.size // BLOCK), "<u4")
        of_each = [np.empty(new.size, kind) for kind in ("<u2", new.dtype, new.dtype)]
        args = _aligned(new), _aligned(base), new.size, counts, *of_each
        found = self._call(f"changes_{8 * new.itemsize}", *args)
        gaps, values, differences = (array[:found].copy() for array in of_each)
        return counts, gaps, values, differences

    def patch(
        self,
        out: Array,
        first: int,
        total: int,
        block: int,
        told: tuple[Array, Array, Array],
        *,
        add: bool,
    ) -> bool:
        """Change words ``first`` and on, of ``total``, by what :meth:`changes` told of blocks.

        Parameters
        ----------
        told
            Counts of the blocks from ``block`` on, and gaps and values (or differences, which are
            added) of their changes.

        Returns
        -------
        Whether all changes lie in their blocks; else some of them were made.
        """
        counts, gaps, values = told
        _expect(counts.dtype == "<u4" and gaps.dtype == "<u2" and values.dtype == out.dtype)
        _expect(int(counts.sum()) == gaps.size == values.size and bool(out.flags.writeable))
        args = first, out.size, total, block, counts.size, counts, _aligned(gaps), _aligned(values)
        return self._call(f"patch_{8 * out.itemsize}", out, *args, int(add)) >= 0

    def widen_bf16(self, bits: Array) -> NDArray[np.float32]:
        """BF16 numbers as binary32."""
        _expect(bits.itemsize == 2)
        out = np.empty(bits.shape, np.float32)
        self._call("widen_bf16", _aligned(bits), out, bits.size)
        return out

    def round_bf16(self, values: Array, otherwise: Array, out: Array) -> None:
        """Binary32 numbers as BF16; where that is not finite, other bits."""
        _expect(values.size == otherwise.size == out.size and values.itemsize == 4)
        _expect(otherwise.itemsize == out.itemsize == 2 and bool(out.flags.writeable))
        self._call("round_bf16", values, _aligned(otherwise), out, out.size)

    def subtract(self, new: Array, base: Array) -> Array:
        """``new - base`` of BF16 (binary32) or F32 (binary64) numbers; not finite: 0."""
        _expect(new.size == base.size and new.itemsize == base.itemsize)
        kind, real = {2: ("bf16", np.float32), 4: ("f32", np.float64)}[new.itemsize]
        out: Array = np.empty(new.shape, real)
        self._call(f"subtract_{kind}", _aligned(new), _aligned(base), out, new.size)
        return out

    def weights(self, bits: Array, least: int) -> NDArray[np.float32]:
        """What :mod:`git_theta.updates.sharpen` weighs BF16 or F32 numbers by, from their bits."""
        out = np.empty(bits.size, np.float32)
        kind = {2: "bf16", 4: "f32"}[bits.itemsize]
        self._call(f"weights_{kind}", _aligned(bits), least, out, bits.size)
        return out

    def weighed(self, difference: Array, left: Array, right: Array, weights: Array) -> Array:
        """``(difference - left @ right) * weights``, of floats, with weights of binary32."""
        (rows, rank), columns = left.shape, right.shape[1]
        _expect(left.dtype == right.dtype == difference.dtype and weights.itemsize == 4)
        _expect(difference.shape == weights.shape == (rows, columns) and right.shape[0] == rank)
        _expect(0 < rank <= MOST_RANK)
        out = np.empty_like(difference)
        args = left, right, difference, weights, out, rows, rank, columns
        self._call(f"weighed_f{8 * out.itemsize}", *args)
        return out

    def _call(self, name: str, *args: Any) -> int:
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = getattr(self._library, f"theta_{name}")
            function.restype = ctypes.c_int64
        found: int = function(*map(_argument, args))
        return found


class _Rows:
    """Rows of an array that lie apart, each of them contiguous."""

    def __init__(self, array: Array) -> None:
        self.array = array


def _argument(value: Any) -> Any:
    if isinstance(value, _Rows):
        return ctypes.c_void_p(value.array.ctypes.data)
    if isinstance(value, np.ndarray):
        _expect(bool(value.flags.c_contiguous and value.flags.aligned))
        return ctypes.c_void_p(value.ctypes.data)
    return ctypes.c_int64(value) if isinstance(value, int) else value


def _aligned(array: Array) -> Array:
    """The same numbers where a word begins: what is read from a file may begin anywhere."""
    return array if array.flags.aligned else array.copy()


def _expect(fits: bool) -> None:
    if not fits:
        raise ValueError("Expected arrays of sizes that fit each other, found others")


def _load() -> Kernels | None:
    folder = Path(__file__).parent
    if os.environ.get("GIT_THETA_COMPILED") == "0" or not (folder / _NAMES[0]).is_file():
        return None
    try:
        source = zlib.crc32((folder / "kernels.c").read_bytes())
        name = _NAMES[ctypes.CDLL(str(folder / _NAMES[0])).theta_level()]
        if not (folder / name).is_file():
            name = _NAMES[0]
        library = ctypes.CDLL(str(folder / name))
        made_of = ctypes.c_uint32.in_dll(library, "theta_source").value
    except (AttributeError, OSError, ValueError):  # of another machine, C library or version
        return None
    return Kernels(library, name) if made_of == source else None


kernels = _load()
