"""``adapter_config.json`` of a PEFT adapter: what it says of the weights, as far as that is exact.

Scaling and orientation follow ``get_delta_weight`` in ``peft/tuners/lora/layer.py``. What changes
the weights in a way that is not known here is refused: never weights that are silently wrong.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_theta.errors import UpdateFileError

CONFIG = "adapter_config.json"
MAX_BYTES = 2**20
"""Longest configuration that is read."""
TYPES = {"LORA": "low-rank", "IA3": "scale"}
"""The update type that an adapter is, by PEFT's name of it."""
MERGE = "Merge it into the model yourself (merge_and_unload), save that, then git add it"
"""What to do with an adapter that cannot be told."""

_HARMLESS = frozenset(
    [
        *("peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision"),
        *("peft_version", "inference_mode", "target_modules", "exclude_modules", "r", "lora_alpha"),
        *(
            "lora_dropout",
            "fan_in_fan_out",
            "bias",
            "use_rslora",
            "modules_to_save",
            "rank_pattern",
        ),
        *("alpha_pattern", "init_lora_weights", "layers_to_transform", "layers_pattern"),
        *("megatron_core", "qalora_group_size", "runtime_config", "eva_config", "loftq_config"),
        *("feedforward_modules", "init_ia3_weights"),
    ]
)
"""Settings that change no weight, or that are understood."""
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that leave the base as it is: pissa, olora, corda, loftq do not."""
_KEY = re.compile(r"(?:[\w.^$|()\[\]?*+\\-])+")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What an adapter's configuration says of its weights."""

    update_type: str
    """Name of the update type."""
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    """Ranks by module name, or by a pattern of some."""
    alpha_pattern: Mapping[str, float]
    by_root: bool
    """Whether the scaling divides by the root of the rank (use_rslora)."""
    transposed: bool
    """Whether weights lie as [in, out] (fan_in_fan_out)."""

    def rank_of(self, module: str) -> int:
        """The rank that a module was given."""
        return int(_look_up(self.rank_pattern, module, self.rank))

    def scaling(self, module: str) -> float:
        """What the product of a module's factors is multiplied by."""
        rank, alpha = self.rank_of(module), _look_up(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.by_root else rank)


def read_config(folder: Path) -> AdapterConfig:
    """Read the configuration of an adapter.

    Raises
    ------
    UpdateFileError
        When it is malformed, or says something that cannot be done exactly.
    """
    path = folder / CONFIG
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}, expected an object")
    except (OSError, ValueError, RecursionError) as fault:
        raise UpdateFileError(f"Cannot read {path}: {fault}") from fault
    _check_settings(found, path)
    return AdapterConfig(
        TYPES[found["peft_type"]],
        int(_number(found, "r", path, 8)),
        _number(found, "lora_alpha", path, 8),
        {key: int(value) for key, value in _pattern(found, "rank_pattern", path).items()},
        _pattern(found, "alpha_pattern", path),
        bool(found.get("use_rslora")),
        bool(found.get("fan_in_fan_out")),
    )


def _check_settings(found: Mapping[str, Any], path: Path) -> None:
    kind = found.get("peft_type")
    if kind not in TYPES:
        raise UpdateFileError(
            f"{path}: expected an adapter of peft_type {' or '.join(TYPES)}, found {kind!r}",
            remedy=MERGE,
        )
    unknown = sorted(key for key, value in found.items() if value and key not in _HARMLESS)
    start = found.get("init_lora_weights")
    if not any(start is known or start == known for known in _STARTS):
        unknown.append(f"init_lora_weights={start}")
    if unknown:
        raise UpdateFileError(
            f"{path}: it sets {', '.join(unknown)}, and what that does to the weights cannot be "
            "told as factors",
            remedy=MERGE,
        )


def _number(found: Mapping[str, Any], key: str, path: Path, default: float = 0) -> float:
    value = found.get(key, default)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < abs(value) < 2**31:
        raise UpdateFileError(f"{path}: {key} is {str(value)[:80]}, expected a number")
    return float(value)


def _pattern(found: Mapping[str, Any], key: str, path: Path) -> dict[str, float]:
    values = found.get(key) or {}
    if not isinstance(values, dict):
        raise UpdateFileError(f"{path}: {key} is a {type(values).__name__}, expected an object")
    for name in values:
        # What a user did not write is not run: repeats inside repeats take forever to match
        simple = _KEY.fullmatch(name) and len(re.findall(r"[*+?]", name)) <= 2
        if not simple or re.search(r"\)[*+]", name) or not _compiles(name):
            raise UpdateFileError(
                f"{path}: {key} has the pattern {name[:80]!r}, expected the name of a module or a "
                "pattern with at most two repeats",
                remedy="Write the names of the modules into it, one entry each",
            )
    numbers = {name: _number(values, name, path) for name in values}
    if key == "rank_pattern" and not all(value >= 1 for value in numbers.values()):
        raise UpdateFileError(f"{path}: {key} has {min(numbers.values())}, expected ranks")
    return numbers


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _look_up(pattern: Mapping[str, float], module: str, default: float) -> float:
    """The value of the first key that a module's name ends in, as PEFT's get_pattern_key."""
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return default
