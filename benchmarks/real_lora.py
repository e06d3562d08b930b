"""A real LoRA: train one with peft, merge it, save, and see what git-theta keeps of the merge.

usage: python benchmarks/real_lora.py [RANK]    (needs torch, transformers, peft, safetensors)

A small GPT-2 learns Python's own source code for a few seconds, then a LoRA learns the source of
another package. Base and merge are saved in F32, BF16 and F16, added, committed and checked out
again. Shares are of the bytes of the groups that the merge touched; ranks are those of the factors
that were found, and how many groups have each.
"""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from git_theta.storage.pack import Pack

STEPS = 12
WIDTH = 384


def batches(folder: Path, seed: int) -> Iterator[torch.Tensor]:
    """Batches of 8 x 128 bytes of a folder's Python files."""
    text = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    random = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        starts = torch.randint(len(data) - 129, (8,), generator=random)
        yield torch.stack([data[start : start + 128] for start in starts.tolist()])


def train(model: torch.nn.Module, folder: Path, rate: float, seed: int) -> float:
    """Train what is trainable; the last loss."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate)
    loss = torch.tensor(0.0)
    for batch in batches(folder, seed):
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def save(model: torch.nn.Module, path: Path, dtype: torch.dtype) -> None:
    """Save the weights in a dtype."""
    state = {
        name: value.detach().to(dtype).contiguous() for name, value in model.state_dict().items()
    }
    state.pop("lm_head.weight", None)  # tied
    save_file(state, path)


def git(folder: Path, *args: str) -> None:
    """Run git in a folder."""
    subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, env=os.environ)


def measure(folder: Path, base: Path, merged: Path) -> dict[str, object]:
    """Add the base, then the merge; what the merge took."""
    git(folder, "init", "-q")
    git(folder, "theta", "install", "--local")
    git(folder, "theta", "track", "*.safetensors")
    model, objects = folder / "model.safetensors", folder / ".git" / "theta" / "objects"
    model.write_bytes(base.read_bytes())
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "base")
    before = set(objects.glob("?" * 64))
    model.write_bytes(merged.read_bytes())
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "merged")
    old, new = load_file(base), load_file(merged)
    touched = sum(new[n].nbytes for n in new if not torch.equal(old[n], new[n]))
    added = set(objects.glob("?" * 64)) - before
    kinds, ranks = Counter[str](), Counter[int]()
    for path in added:
        pack = Pack(path)
        for number in range(len(pack)):
            payload = pack.payload(number)
            kinds[payload.update[0]] += 1
            if payload.update[0] == "low-rank":
                ranks[int.from_bytes(payload.params[4:6], "little")] += 1  # docs/spec/pack-v1.md
    model.unlink()
    git(folder, "checkout", "--", ".")
    assert model.read_bytes() == merged.read_bytes()
    stored = sum(path.stat().st_size for path in added)
    share = round(stored / touched, 4)
    return {"touched": touched, "stored": stored, "share": share, "by": kinds, "ranks": ranks}


def main() -> None:
    """Train, merge, measure."""
    rank = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=256, n_positions=128, n_embd=WIDTH, n_layer=4, n_head=6)
    model = GPT2LMHeadModel(config)
    print(f"base: loss {train(model, Path(json.__file__).parent.parent, 1e-3, 0):.2f}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            name = str(dtype).removeprefix("torch.")
            start = GPT2LMHeadModel(config)
            start.load_state_dict({k: v.to(dtype).float() for k, v in model.state_dict().items()})
            save(start, folder / f"{name}-base.safetensors", dtype)
            wrapped = get_peft_model(
                start,
                LoraConfig(
                    r=rank, lora_alpha=2 * rank, target_modules=["c_attn", "c_proj", "c_fc"]
                ),
            )
            loss = train(wrapped, Path(email.__file__).parent, 3e-4, 1)
            merged = wrapped.to(dtype).merge_and_unload()
            save(merged, folder / f"{name}-merged.safetensors", dtype)
            place = folder / name
            place.mkdir()
            found = measure(
                place, *(folder / f"{name}-{w}.safetensors" for w in ("base", "merged"))
            )
            print(f"{name}: LoRA r={rank}, loss {loss:.2f}, {json.dumps(found)}")


if __name__ == "__main__":
    main()
