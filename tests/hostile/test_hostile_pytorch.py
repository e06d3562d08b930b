"""Hostile PyTorch files: nothing runs, nothing hangs, no memory is taken on a file's word.

The files are made by hand, without torch.
"""

from __future__ import annotations

import io
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.checkpoint import Layout, check_layout
from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded
from git_theta.formats.detect import Context
from git_theta.plugins import installed
from git_theta.source import BytesSource
from git_theta.testing.hostile import attempt, damaged, truncations
from git_theta.testing.memory import at_most
from theta_pytorch import walk
from theta_pytorch.children import identify
from theta_pytorch.legacy import MAGIC, PROTOCOL, PyTorchLegacy
from theta_pytorch.pickles.machine import MAX_STEPS, load_pickle
from theta_pytorch.pickles.memo import get, put
from theta_pytorch.pickles.state import Machine
from theta_pytorch.pytorch_zip import PyTorch
from theta_pytorch.torchscript import TorchScript

MIB = 2**20
FORMATS = (PyTorch(), TorchScript(), PyTorchLegacy())
RAW = bytes(range(24))


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + raw


def integers(*values: int) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(key: str = "0", numel: int = 6, kind: str = "FloatStorage") -> bytes:
    name = f"ctorch\n{kind}\n".encode()
    return b"(" + text("storage") + name + text(key) + text("cpu") + integer(numel) + b"tQ"


def tensor(
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
    offset: int = 0,
    numel: int = 6,
) -> bytes:
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    view = integer(offset) + integers(*shape) + integers(*strides)
    return rebuild + storage(numel=numel) + view + b"\x89}tR"


def state(*pairs: bytes) -> bytes:
    return b"}(" + b"".join(pairs) + b"u"


def zipped(body: bytes, raw: bytes = RAW, *, record: str = "data.pkl") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"archive/{record}", b"\x80\x02" + body + b".")
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/data/0", raw)
    return out.getvalue()


def legacy(body: bytes, raw: bytes = RAW, *, numel: int = 6, keys: object = ("0",)) -> bytes:
    system = {"protocol_version": PROTOCOL, "little_endian": True}
    keys = list(keys) if isinstance(keys, tuple) else keys
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, system))
    storages = struct.pack("<q", numel) + raw if keys else b""
    return head + b"\x80\x02" + body + b"." + pickle.dumps(keys, 2) + storages


def scan(data: bytes) -> Layout:
    fault: CheckpointError = FormatMismatch("Expected a file of PyTorch")
    for format in FORMATS:
        try:
            if format.matches(data[:4096], "hostile"):
                layout = format.scan(BytesSource(data), Context(installed(), "hostile"))
                check_layout(layout, len(data))
                return layout
        except FormatMismatch:
            continue
        except CheckpointError as found:
            fault = found
    raise fault


def names(data: bytes) -> set[str]:
    return {tensor.name for tensor in scan(data).tensors}


containers = pytest.mark.parametrize("make", [zipped, legacy])
Make = Callable[[bytes], bytes]


@containers
def test_the_honest_file_is_read(make: Make) -> None:
    layout = scan(make(state(text("w"), tensor())))
    assert [(t.name, t.dtype, t.shape, t.strides) for t in layout.tensors] == [
        ("w", "F32", (2, 3), None)
    ]


# ---- code ----------------------------------------------------------------------------------------

CALLS = {
    "REDUCE": b"cos\nsystem\n(" + text("touch {mark}") + b"tR",
    "NEWOBJ": b"cos\nsystem\n(" + text("touch {mark}") + b"t\x81",
    "NEWOBJ_EX": b"csubprocess\nPopen\n(" + text("touch {mark}") + b"t}\x92",
    "OBJ": b"(cos\nsystem\n" + text("touch {mark}") + b"o",
    "INST": b"(" + text("touch {mark}") + b"ios\nsystem\n",
    "STACK_GLOBAL": text("os") + text("system") + b"\x93(" + text("touch {mark}") + b"tR",
    "BUILD": b"ctypes\nSimpleNamespace\n)R}(" + text("__setstate__") + b"cos\nsystem\nub"
    + text("touch {mark}") + b"b",
    "eval": b"cbuiltins\neval\n(" + text("open('{mark}', 'w')") + b"tR",
    "in a hook": b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + integer(0)
    + integers(2) + integers(1) + b"\x89cos\nsystem\n(" + text("touch {mark}") + b"tRtR",
    "as a subclass": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nN("
    + text("touch {mark}") + b"tNtR",
}  # fmt: skip


def call(how: str, mark: Path) -> bytes:
    """A pickle that creates the file ``mark`` if anything calls what it names."""
    template = CALLS[how]
    for command in ("touch {mark}", "open('{mark}', 'w')"):
        template = template.replace(text(command), text(command.format(mark=mark)))
    assert bytes(mark) in template
    return template


@containers
@pytest.mark.parametrize("how", CALLS)
def test_nothing_that_a_pickle_names_is_called(how: str, make: Make, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    found = names(make(state(text("evil"), call(how, mark), text("w"), tensor())))
    assert "w" in found
    assert not mark.exists()


@pytest.mark.parametrize("how", ["REDUCE", "OBJ", "INST", "STACK_GLOBAL", "eval"])
def test_the_same_pickles_run_code_in_an_ordinary_unpickler(how: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = "import pickle, sys; pickle.loads(bytes.fromhex(sys.argv[1]))"
    body = call(how, mark) + b"."
    subprocess.run([sys.executable, "-c", script, body.hex()], check=False, capture_output=True)
    assert mark.exists()


def test_nothing_that_a_pickle_names_is_imported(tmp_path: Path) -> None:
    (tmp_path / "bomb.py").write_text("raise SystemExit('imported')")
    path = tmp_path / "evil.pt"
    path.write_bytes(zipped(state(text("evil"), b"cbomb\nBomb\n)R", text("w"), tensor())))
    script = (
        "import sys; from pathlib import Path; from git_theta.plugins import installed\n"
        "from git_theta.formats.detect import detect; from git_theta.source import BytesSource\n"
        "found = detect(BytesSource(Path('evil.pt').read_bytes()), 'evil.pt', installed())\n"
        "print(found.formats, [t.name for t in found.layout.tensors], 'bomb' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "('pytorch',) ['w'] False\n"


# ---- memory and time -----------------------------------------------------------------------------


def deep(opcode: bytes, depth: int = 100_000) -> bytes:
    return b"]" + opcode * depth


CLAIMS = {
    "memo of 2 GiB": b"Nr\xff\xff\xff\x7f",
    "memo of 4 GiB": b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff",
    "memo in text": b"Np4294967295\n",
    "string of 2 GiB": b"X\xff\xff\xff\x7f",
    "string of 8 EiB": b"\x8d" + b"\xff" * 7 + b"\x7f",
    "bytes of 4 GiB": b"B\xff\xff\xff\xff",
    "bytes of 16 EiB": b"\x8e" + b"\xff" * 8,
    "bytearray of 16 EiB": b"\x96" + b"\xff" * 8,
    "number of 2 GiB": b"\x8b\xff\xff\xff\x7f",
    "number of negative size": b"\x8b\xff\xff\xff\xff",
    "frame of 16 EiB": b"\x95" + b"\xff" * 8,
    "number of many digits": b"L" + b"9" * 4000 + b"L\n",
    "line without an end": b"cos" * 10_000,
    "100,000 marks": b"(" * 100_000,
    "100,000 tuples": deep(b"\x85"),
    "100,000 lists": b"]" * 100_000 + b"a" * 99_999,
    "100,000 objects": b"N" + b")R" * 50_000,
    "100,000 states": b"cm\nC\n)R" + b"2b" * 50_000,
    "pairs of pairs": deep(b"2\x86", 50_000),
    "list of itself": b"]q\x00h\x00a",
    "dict of itself": b"}q\x00(" + text("a") + b"h\x00" + text("b") + b"h\x00u",
    "object of itself": b"cm\nC\n)Rq\x00h\x00b",
    "lists of the same lists": b"]" + b"q\x00]h\x00ah\x00a" * 20_000,
    "dicts of the same dicts": b"}" + b"q\x00}(K\x01h\x00K\x02h\x00u" * 20_000,
    "tuple as a key, nested": b"}" + deep(b"2\x86", 60) + b"Ns",
    "dict as a key": b"}}Ns",
    "wrappers of wrappers": b"N" + b"q\x00ctorch._utils\n_rebuild_parameter\nh\x00\x85R" * 5_000,
    "wrappers doubled": b"N"
    + b"q\x00ctorch._utils\n_rebuild_parameter_with_state\n(h\x00NNh\x00tR" * 2_000,
    "tensors of huge rank": b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + b"K\x00"
    + b"(" + b"K\x01" * 50_000 + b"tq\x05h\x05\x89}tR",
    "storage beyond its record": tensor(numel=10**12),
    "storage of negative size": tensor(numel=-6),
    "storage of 2**100 elements": tensor(numel=2**100),
    "tensor beyond its storage": tensor(shape=(3, 3)),
    "offset beyond its storage": tensor(offset=1),
    "negative size": tensor(shape=(2, -3)),
    "negative stride": tensor(strides=(3, -1)),
    "negative offset": tensor(offset=-1),
    "strides of another rank": tensor(strides=(1,)),
    "2**62 elements by stride 0": tensor(shape=(2**62,), strides=(0,)),
    "2**120 elements": tensor(shape=(2**60, 2**60), strides=(1, 1)),
    "sizes that are strings": b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + b"K\x00"
    + text("ab") + text("ab") + b"\x89}tR",
    "no record for a storage": b"]" + storage(key="../../etc/passwd") + b"a",
    "unknown opcode": b"\xff",
    "extension": b"\x82\x01",
    "nothing on the stack": b"0000",
    "append to nothing": b"Na",
    "persistent number": b"NQ",
    "protocol 9": b"\x80\x09N",
}  # fmt: skip


@containers
@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_cost_no_memory_and_no_crash(claim: str, make: Make) -> None:
    body = state(text("w"), tensor(), text("claim"), CLAIMS[claim])
    for data in (make(body), make(CLAIMS[claim])):
        with at_most(48 * MIB, claim):
            attempt(lambda data=data: scan(data), CheckpointError, claim)


@containers
@pytest.mark.parametrize(
    "claim",
    [claim for claim in CLAIMS if claim.startswith(("negative", "storage", "offset", "strides"))]
    + ["no record for a storage", "memo of 4 GiB", "string of 2 GiB", "tensor beyond its storage"],
)
def test_contradictions_are_refused(claim: str, make: Make) -> None:
    if claim == "memo of 4 GiB":  # is fine: one entry is one entry
        assert names(make(state(text("w"), tensor(), text("x"), CLAIMS[claim]))) == {"w"}
        return
    with pytest.raises(CheckpointError):
        scan(make(state(text("w"), CLAIMS[claim])))


BOMBS = (b"]", b"\x85", b"Q", b"G12345678", b"X\x04\x00\x00\x00abcd")
"""Opcodes that leave more on the stack than they take in the file."""

READ = """
import re, sys
from pathlib import Path
from git_theta.formats.detect import detect
from git_theta.plugins import installed
from git_theta.source import FileSource
with open(sys.argv[1], "rb") as file:
    found = detect(FileSource(file.fileno()), "bomb.pt", installed())
status = Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's
print(*found.formats, re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
"""


@containers
def test_files_of_bombs_stay_below_the_promised_memory(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "bomb.pt"
    for bomb in BOMBS:
        file.write_bytes(make(b"N" + bomb * (58 * MIB // len(bomb))))
        command = [sys.executable, "-c", READ, str(file)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        name, kibibytes = ran.stdout.split()
        assert name == "unknown"
        assert 0 < int(kibibytes) < 512 * 1024, f"{bomb!r} took {kibibytes} KiB"


def test_steps_are_limited() -> None:
    with pytest.raises(LimitExceeded, match="opcodes"):
        load_pickle(b"N0" * (MAX_STEPS // 2 + 1) + b"N.")


def test_many_aliases_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_TENSORS", 10_000)
    body = b"](" + tensor() + b"q\x07" + b"h\x07" * 9_999 + b"e"
    assert len(scan(zipped(body)).tensors) == 10_000
    body = body.replace(b"h\x07e", b"h\x07h\x07e")
    with pytest.raises(LimitExceeded, match="tensors"):
        scan(zipped(body))


def test_long_names_are_limited() -> None:
    nested = tensor()
    for _ in range(20):
        nested = state(text("n" * 100), nested)
    with pytest.raises(LimitExceeded, match="names"):
        scan(zipped(nested))


# ---- damage --------------------------------------------------------------------------------------

BODY = state(text("w"), tensor(), text("deep"), b"](" + tensor() + b"}" + b"e", text("n"), b"K\x03")


@containers
def test_truncated_files_are_refused_or_read(make: Make) -> None:
    for what, data in truncations(make(BODY)):
        with at_most(8 * MIB, what):
            attempt(lambda data=data: scan(data), CheckpointError, what)


@containers
def test_flipped_bits_are_refused_or_read(make: Make) -> None:
    for what, data in damaged(make(BODY), 1500):
        with at_most(8 * MIB, what):
            attempt(lambda data=data: scan(data), CheckpointError, what)


@given(st.binary(max_size=80), st.randoms(use_true_random=False))
def test_random_opcodes_are_refused_or_read(noise: bytes, choice: random.Random) -> None:
    opcodes = b"(.0NIKJMU]}abcdegijhlopqrstu\x85\x86\x87\x88\x8a\x8c\x93\x94Q\x81R)2"
    mixed = bytes(choice.choice(opcodes) if choice.random() < 0.7 else byte for byte in noise)
    attempt(lambda: load_pickle(mixed), CheckpointError, repr(mixed))
    attempt(lambda: scan(zipped(state(text("w"), mixed))), CheckpointError, repr(mixed))
    attempt(lambda: scan(legacy(state(text("w"), mixed))), CheckpointError, repr(mixed))


@pytest.mark.parametrize("keys", [(), ("1",), ("0", "0"), ("0", "1"), {"0": 0}, 5, (["0"],)])
def test_legacy_keys_that_contradict_the_object_are_refused(keys: object) -> None:
    with pytest.raises(CheckpointError, match=r"[Ee]xpected"):
        scan(legacy(state(text("w"), tensor()), keys=keys))


@pytest.mark.parametrize("numel", [-1, 0, 5, 7, 2**62])
def test_legacy_sizes_that_contradict_the_object_are_refused(numel: int) -> None:
    with pytest.raises(CheckpointError, match="to have 6 elements"):
        scan(legacy(state(text("w"), tensor()), numel=numel))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_duplicate_records_are_refused() -> None:
    out = io.BytesIO(zipped(state(text("w"), tensor())))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("archive/data/0", RAW)
    with pytest.raises(CheckpointError):
        scan(out.getvalue())


def test_two_objects_in_one_file_are_not_a_checkpoint() -> None:
    out = io.BytesIO(zipped(state(text("w"), tensor())))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("other/data.pkl", b"N.")
    with pytest.raises(FormatMismatch):
        scan(out.getvalue())


def test_compressed_storages_stay_in_the_skeleton() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + state(text("w"), tensor()) + b".")
        archive.writestr("a/data/0", bytes(24), zipfile.ZIP_DEFLATED)
    assert scan(out.getvalue()) == Layout()


# ---- keys that collide ---------------------------------------------------------------------------


def test_numbers_that_hash_alike_do_not_collide_as_keys() -> None:
    same = sys.hash_info.modulus
    assert {hash(number * same) for number in range(1000)} == {0}
    assert len({hash(identify(number * same)) for number in range(1000)}) == 1000
    assert len({hash(identify(2.0 ** (61 * power))) for power in range(16)}) == 16


def test_dict_of_numbers_that_hash_alike_is_read() -> None:
    keys = [number * sys.hash_info.modulus for number in range(30_000)]
    layout = scan(zipped(state(*(integer(key) + b"N" for key in keys), text("w"), tensor())))
    assert [group.name for group in layout.tensors] == ["w"]


def test_equal_keys_are_one_key_as_in_a_dict() -> None:
    keys = (1, True, 1.0, 0.5, 0, False, "1", -1, None, 2**70, 2.0**70, "(1)", float("inf"))
    groups = {identify(key): key for key in keys}
    assert list(groups.values()) == list({key: key for key in keys}.values())


def test_memo_indices_are_not_hashed_as_numbers() -> None:
    machine = Machine(b"")
    machine.stack.append("value")
    put(machine, 2**31)
    assert not any(isinstance(index, int) for index in machine.sparse)
    get(machine, 2**31)
    assert machine.stack == ["value", "value"]
