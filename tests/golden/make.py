"""Made the golden files, once. They never change: what was written has to stay readable.

``PYTHONPATH=tests/core python tests/golden/make.py`` writes what is not there yet, for a new set;
it never replaces one. Each set has the metadata of a file and the packs of that add alone; a set
that names an earlier one was added on top of it, and needs its packs too.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from synthetic import clean_file, rebuild_file, synthetic_file

from git_theta.storage.local import LocalStore

HERE = Path(__file__).parent


def numbers(count: int, width: int, *, big: bool = False) -> bytes:
    """Whole numbers in a pattern that compresses a little; no library decides what they are."""
    words = [(n * n * 2654435761 + n) & 0xFFFFFF for n in range(count)]
    order = "big" if big else "little"
    return b"".join((word % 256**width).to_bytes(width, order) for word in words)


def zeros() -> bytes:
    """The example of the specifications: a safetensors file of four zeros."""
    header = json.dumps({"bias": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})
    text = header.replace(" ", "").encode().ljust(72)
    return struct.pack("<Q", len(text)) + text + bytes(16)


def views(tail: bytes = b"end") -> bytes:
    """Buffers of many dtypes, short and long, empty, equal, big-endian; groups of every kind."""
    buffers = [
        ("F32", b"gap", False, numbers(3000, 4)),
        ("BF16", b"", False, numbers(40_000, 2)),
        ("F64", b"pad", True, numbers(50, 8, big=True)),
        ("F32", b"", False, numbers(3000, 4)),
        ("I64", b"", False, b""),
        ("F4", b"", False, numbers(6, 1)),
        ("C64", b"", True, numbers(20, 4, big=True)),
        ("BOOL", b"\0", False, b"\1\0\1"),
        ("F8_E4M3", b"", False, numbers(5000, 1)),
    ]
    tensors = [
        ("weight", "F32", (50, 60), 0, 0, None),
        ("tied", "F32", (3000,), 0, 0, None),
        ("transposed", "F32", (60, 50), 0, 0, (1, 60)),
        ("slice", "F32", (10,), 0, 7, None),
        ("expanded", "F32", (4, 3), 0, 5, (0, 1)),
        ("half", "BF16", (200, 200), 1, 0, None),
        ("big", "F64", (50,), 2, 0, None),
        ("empty", "I64", (0, 3), 4, 0, None),
        ("four bits", "F4", (2, 6), 5, 0, None),
        ("complex", "C64", (10,), 6, 0, None),
        ("", "BOOL", (3,), 7, 0, None),
        ('quote"\n', "BOOL", (), 7, 1, None),
        ("größe.权重", "F8_E4M3", (2500,), 8, 2500, None),
    ]
    return synthetic_file(buffers, tensors, tail)


def patched() -> bytes:
    """The same with another skeleton, which is stored against the last one."""
    return views(b"another end")


def short() -> bytes:
    """Many short buffers, which share payloads of blocks of several lengths."""
    sizes = [n % 5 + 1 for n in range(300)] + [1500 + n for n in range(8)] + [5000, 5001]
    arrays = [numbers(size, 4)[n % size * 4 :] or numbers(1, 4) for n, size in enumerate(sizes)]
    tensors = [(f"w.{n:03}", "F32", (len(a) // 4,), n, 0, None) for n, a in enumerate(arrays)]
    return synthetic_file([("F32", b"", n == 2, a) for n, a in enumerate(arrays)], tensors)


def cut() -> bytes:
    """A file that no format knows, long enough to be cut."""
    return b"".join(b"%07d\n" % (n // 1000) for n in range(200_000))


def biases(step: int) -> bytes:
    """Short buffers of several dtypes; those of each step stand on those of the one before."""
    found: list[tuple[str, bytes]] = []
    for n in range(12):
        values = weights(20 + n)[: 300 + n]
        if step:
            values = [w + v / 2**14 for w, v in zip(values, weights(40 + n), strict=False)]
        found += [("F32", floats(values)), ("BF16", halves(values))]
    tensors = [
        (f"{n:02}.bias", dtype, (len(data) // (4 if dtype == "F32" else 2),), n, 0, None)
        for n, (dtype, data) in enumerate(found)
    ]
    return synthetic_file([(dtype, b"", False, data) for dtype, data in found], tensors)


def biased() -> bytes:
    """What the next set stands on."""
    return biases(0)


def tuned() -> bytes:
    """Every bias changed a little: bundles with bases."""
    return biases(1)


ROWS, COLUMNS = 128, 96


def weights(seed: int) -> list[float]:
    """Numbers that look like a layer's and that F32 holds exactly."""
    state, found = seed, []
    for _ in range(ROWS * COLUMNS):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append(((state >> 40) - 2**23) / 2**28)
    return found


def floats(values: list[float]) -> bytes:
    """The nearest F32 of each."""
    return struct.pack(f"<{len(values)}f", *values)


def halves(values: list[float]) -> bytes:
    """BF16, cut off rather than rounded."""
    words = struct.unpack(f"<{len(values)}I", floats(values))
    return struct.pack(f"<{len(values)}H", *(word >> 16 for word in words))


def layers(arrays: list[tuple[str, str, int, bytes]]) -> bytes:
    """A file of matrices: name, dtype, rows, bytes."""
    buffers = [(dtype, b"", False, data) for _, dtype, _, data in arrays]
    tensors = [
        (name, dtype, (rows, COLUMNS), number, 0, None)
        for number, (name, dtype, rows, _) in enumerate(arrays)
    ]
    return synthetic_file(buffers, tensors)


def base() -> bytes:
    """What the next set stands on."""
    return layers(
        [(f"{n}.f32", "F32", ROWS, floats(weights(n))) for n in range(4)]
        + [("4.bf16", "BF16", 2 * ROWS, halves(weights(4) + weights(5)))]
    )


def updated() -> bytes:
    """Each matrix changed in another way: a step, scattered, scaled rows, a low rank."""
    step = [w + v / 2**12 for w, v in zip(weights(0), weights(10), strict=True)]
    scattered = list(weights(1))
    scattered[::97] = weights(11)[::97]
    scaled = [w * (1 + n // COLUMNS / 64) for n, w in enumerate(weights(2))]
    left, right = weights(12), weights(13)
    product = [
        sum(left[n // COLUMNS * 2 + k] * right[n % COLUMNS * 2 + k] * 8 for k in range(2))
        for n in range(ROWS * COLUMNS)
    ]
    merged = [w + d for w, d in zip(weights(3), product, strict=True)]
    half = [w + d for w, d in zip(weights(4) + weights(5), product * 2, strict=True)]
    return layers(
        [
            ("0.f32", "F32", ROWS, floats(step)),
            ("1.f32", "F32", ROWS, floats(scattered)),
            ("2.f32", "F32", ROWS, floats(scaled)),
            ("3.f32", "F32", ROWS, floats(merged)),
            ("4.bf16", "BF16", 2 * ROWS, halves(half)),
        ]
    )


def averaged() -> bytes:
    """The first matrix: the mean of what it was in the two sets before."""
    step = [w + v / 2**12 for w, v in zip(weights(0), weights(10), strict=True)]
    both = zip(weights(0), struct.unpack(f"<{len(step)}f", floats(step)), strict=True)
    return layers([("0.f32", "F32", ROWS, floats([(w + v) / 2 for w, v in both]))])


def nearest_halves(values: list[float]) -> bytes:
    """BF16, rounded to nearest, ties to even."""
    words = struct.unpack(f"<{len(values)}I", floats(values))
    return struct.pack(f"<{len(values)}H", *((w + 0x7FFF + (w >> 16 & 1)) >> 16 for w in words))


def precise() -> bytes:
    """One matrix to round, and one to widen."""
    return layers(
        [
            ("0", "F32", 2 * ROWS, floats(weights(20) + weights(21))),
            ("1", "BF16", 2 * ROWS, halves(weights(22) + weights(23))),
        ]
    )


def cast() -> bytes:
    """The same two, each in the dtype of the other."""
    widened = b"".join(b"\0\0" + half for half in _pairs(halves(weights(22) + weights(23))))
    return layers(
        [
            ("0", "BF16", 2 * ROWS, nearest_halves(weights(20) + weights(21))),
            ("1", "F32", 2 * ROWS, widened),
        ]
    )


def _pairs(data: bytes) -> list[bytes]:
    return [data[at : at + 2] for at in range(0, len(data), 2)]


def frame(name: str) -> bytes:
    """A frame that libzstd 1.5.7 made of the numbers below, at the levels 1, 12 and 3."""
    return (HERE / "frames" / name).read_bytes()


def coded() -> bytes:
    """Numbers in frames, some also raw; whole groups and views; a frame that is none."""
    raw, half, big = numbers(3000, 4), halves(weights(30)) * 2, numbers(50, 8, big=True)
    buffers = [
        ("F32", b"gap", False, frame("f32"), len(raw)),
        ("BF16", b"", False, frame("bf16"), len(half)),
        ("F64", b"pad", True, frame("f64"), len(big)),
        ("F32", b"", False, frame("f32"), len(raw)),
        ("F32", b"raw", False, raw),
        ("U8", b"", False, b"no frame", 100),
    ]
    tensors = [
        ("weight", "F32", (50, 60), 0, 0, None),
        ("again", "F32", (3000,), 3, 0, None),
        ("raw", "F32", (3000,), 4, 0, None),
        ("transposed", "F32", (60, 50), 0, 0, (1, 60)),
        ("half", "BF16", (2 * ROWS, COLUMNS), 1, 0, None),
        ("row", "BF16", (COLUMNS,), 1, COLUMNS, None),
        ("big", "F64", (50,), 2, 0, None),
        ("closed", "U8", (100,), 5, 0, None),
    ]
    return synthetic_file(buffers, tensors, b"end")


SETS: dict[str, tuple[Callable[[], bytes], str]] = {
    "zeros": (zeros, ""),
    "views": (views, ""),
    "patched": (patched, "views"),
    "cut": (cut, ""),
    "short": (short, ""),
    "base": (base, ""),
    "updated": (updated, "base"),
    "averaged": (averaged, "updated"),
    "precise": (precise, ""),
    "cast": (cast, "precise"),
    "biased": (biased, ""),
    "tuned": (tuned, "biased"),
    "coded": (coded, ""),
}
"""The file of each set, and the set that it was added on top of."""


def copy_packs(name: str, store: LocalStore) -> None:
    """Put the packs of a set, and of those before it, into a store."""
    while name:
        store.packs.put({pack.name: pack for pack in (HERE / name / "packs").iterdir()})
        name = SETS[name][1]
    store.refresh()


def versions(name: str) -> list[bytes]:
    """Metadata of the sets before one, the last of them first."""
    found = []
    while name := SETS[name][1]:
        found.append((HERE / name / "metadata").read_bytes())
    return found


def make(name: str) -> None:
    """Write one set."""
    function, before = SETS[name]
    file, folder = function(), HERE / name
    with tempfile.TemporaryDirectory() as temporary, LocalStore(Path(temporary)) as store:
        copy_packs(before, store)
        known = store.packs.packs()
        text = clean_file(file, store, versions=versions(name))
        assert rebuild_file(text, store) == file
        (folder / "packs").mkdir(parents=True)
        (folder / "metadata").write_bytes(text)
        for pack in store.packs.packs() - known:
            shutil.copyfile(store.packs.path(pack), folder / "packs" / pack)


if __name__ == "__main__":
    for name in SETS:
        if not (HERE / name).exists():
            make(name)
            print(f"made {name}", file=sys.stderr)
