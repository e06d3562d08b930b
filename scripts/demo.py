"""git-theta's main job in a minute: train a small model, commit it three times, go back.

Run by ``scripts/demo``, in an environment that has git-theta. The model is a perceptron that reads
drawn digits: numpy trains it, safetensors saves it, and all the versioning is plain git.
"""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

Array = npt.NDArray[np.float32]
Model = dict[str, Array]

FILE = "model.safetensors"
SIDE = 16
WIDTHS = (SIDE * SIDE, 768, 512, 10)

SEGMENTS = (
    (slice(2, 3), slice(4, 11)),  # top
    (slice(2, 8), slice(4, 5)),  # upper left
    (slice(2, 8), slice(10, 11)),  # upper right
    (slice(7, 8), slice(4, 11)),  # middle
    (slice(7, 13), slice(4, 5)),  # lower left
    (slice(7, 13), slice(10, 11)),  # lower right
    (slice(12, 13), slice(4, 11)),  # bottom
)
LIT = (
    "1110111",
    "0010010",
    "1011101",
    "1011011",
    "0111010",
    "1101011",
    "1101111",
    "1010010",
    "1111111",
    "1111011",
)
"""Which of a clock radio's segments each digit lights."""


class Version(NamedTuple):
    """A committed model, as it was when it was committed."""

    message: str
    commit: str
    sha256: str
    answers: Array
    """Logits for the test images, float32 of shape (images, 10)."""
    file_bytes: int
    kept_bytes: int
    """By how many bytes the .git folder grew."""


def draw(count: int, noise: float, rng: np.random.Generator) -> tuple[Array, npt.NDArray[np.intp]]:
    """Shifted, noisy digits, float32 of shape (count, SIDE * SIDE), and which digits they are."""
    clean = np.zeros((10, SIDE, SIDE), np.float32)
    for image, lit in zip(clean, LIT, strict=True):
        for segment, on in zip(SEGMENTS, lit, strict=True):
            if on == "1":
                image[segment] = 1
    digits = rng.integers(0, 10, count)
    images = clean[digits]
    for image in images:
        image[:] = np.roll(image, rng.integers(-2, 3, 2), (0, 1))
    images += rng.normal(0, noise, images.shape).astype(np.float32)
    return images.reshape(count, -1), digits


def new_model(rng: np.random.Generator) -> Model:
    """A perceptron with random weights (He et al. 2015) and zero biases."""
    model: Model = {}
    for number, (fan_in, fan_out) in enumerate(pairwise(WIDTHS), 1):
        scale = np.sqrt(2 / fan_in)
        weights = rng.normal(0, scale, (fan_in, fan_out))
        model[f"layer{number}.weight"] = weights.astype(np.float32)
        model[f"layer{number}.bias"] = np.zeros(fan_out, np.float32)
    return model


def run_layers(model: Model, images: Array) -> list[Array]:
    """The input of every layer, and last the logits."""
    values = [images]
    for number in range(1, len(WIDTHS)):
        sums = values[-1] @ model[f"layer{number}.weight"] + model[f"layer{number}.bias"]
        values.append(sums if number == len(WIDTHS) - 1 else np.maximum(sums, 0))
    return values


def train(
    model: Model, groups: Sequence[str], *, steps: int, noise: float, rng: np.random.Generator
) -> None:
    """Descend the gradient of the cross-entropy in some of the groups, with momentum."""
    momentum = {name: np.zeros_like(model[name]) for name in groups}
    for _ in range(steps):
        images, digits = draw(128, noise, rng)
        values = run_layers(model, images)
        odds = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
        slope = odds / odds.sum(axis=1, keepdims=True)
        slope[np.arange(len(digits)), digits] -= 1
        slope /= len(digits)
        for number in range(len(WIDTHS) - 1, 0, -1):
            weight, bias = f"layer{number}.weight", f"layer{number}.bias"
            gradients = {weight: values[number - 1].T @ slope, bias: slope.sum(axis=0)}
            slope = (slope @ model[weight].T) * (values[number - 1] > 0)
            for name in gradients.keys() & momentum.keys():
                momentum[name] = np.float32(0.9) * momentum[name] + gradients[name]
                model[name] -= np.float32(0.1) * momentum[name]


def run(*command: str, show: bool = True) -> str:
    """Run a command in the demo's repository and give what it printed."""
    if show:
        print("  $", shlex.join(command))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def count_kept_bytes() -> int:
    """Bytes of everything that the repository keeps: git's objects, packs, their index."""
    folders = (Path(".git/objects"), Path(".git/theta"))
    files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files)


def commit(model: Model, message: str, images: Array) -> Version:
    """Save the model over the last one and commit it."""
    before = count_kept_bytes()
    save_file(model, FILE)
    run("git", "add", FILE)
    run("git", "commit", "--quiet", "--message", message)
    data = Path(FILE).read_bytes()
    return Version(
        message,
        run("git", "rev-parse", "HEAD", show=False),
        hashlib.sha256(data).hexdigest(),
        run_layers(model, images)[-1],
        len(data),
        count_kept_bytes() - before,
    )


def check_out(version: Version, images: Array) -> None:
    """Go to a version and check that its file and its answers are what they were."""
    run("git", "checkout", "--quiet", version.commit[:10])
    found = hashlib.sha256(Path(FILE).read_bytes()).hexdigest()
    answers = run_layers(load_file(FILE), images)[-1]
    if found != version.sha256 or not np.array_equal(answers, version.answers):
        sys.exit(f"{version.message}: the file that was checked out is not the one committed")
    print(f"    sha256 {found[:16]}... as committed; the same {len(images)} answers, bit for bit")


def print_changes(old: Version, new: Version) -> None:
    """Print which parameter groups git's own diff shows as changed."""
    diff = run("git", "diff", "-U0", old.commit[:10], new.commit[:10], "--", FILE)
    lines = [line for line in diff.splitlines() if line.startswith(("-group", "+group"))]
    for line in lines:
        print(f"    {line[:44]}...")


def print_table(versions: Sequence[Version]) -> None:
    """Print what was kept of each version beside its whole file."""
    print(f"\n{'':36}{'whole file':>14}{'kept in .git':>14}")
    rows = [(v.message, v.file_bytes, v.kept_bytes) for v in versions]
    rows.append(("sum", sum(r[1] for r in rows), sum(r[2] for r in rows)))
    for message, whole, kept in rows:
        print(f"{message:36}{whole:>14,}{kept:>14,}{kept / whole:>9.1%}")


def main() -> None:
    """Train, commit, look, go back, count."""
    started = time.perf_counter()
    rng = np.random.default_rng(1)
    images, digits = draw(1000, 0.4, rng)
    run("git", "init", "--quiet", "--initial-branch=main")
    for key, value in (
        ("user.name", "Demo"),
        ("user.email", "demo@example.invalid"),
        ("commit.gpgSign", "false"),
    ):
        run("git", "config", key, value, show=False)
    run("git", "theta", "install", "--local")
    run("git", "theta", "track", FILE)
    run("git", "add", ".gitattributes")

    versions = []
    model = new_model(rng)
    for message, groups, steps, noise in (
        ("train the whole model", list(model), 250, 0.2),
        ("fine-tune one layer", ["layer1.weight", "layer1.bias"], 60, 0.4),
        ("fine-tune the biases", [name for name in model if name.endswith("bias")], 60, 0.4),
    ):
        print(f"\n{message.capitalize()}")
        train(model, groups, steps=steps, noise=noise, rng=rng)
        versions.append(commit(model, message, images))
        right = (versions[-1].answers.argmax(axis=1) == digits).mean()
        print(f"    {right:.1%} of {len(images)} noisy digits are read right")

    print("\nWhat the last fine-tune changed, by plain git diff")
    print_changes(versions[1], versions[2])
    print("\nBack to the first version, and forth")
    check_out(versions[0], images)
    check_out(versions[2], images)
    print_table(versions)
    print(f"\nDone in {time.perf_counter() - started:.0f} seconds")


if __name__ == "__main__":
    import os

    with tempfile.TemporaryDirectory(prefix="git-theta-demo-") as folder:
        os.chdir(folder)
        main()
        os.chdir(Path(__file__).parent)  # a folder that is in use cannot be removed everywhere
