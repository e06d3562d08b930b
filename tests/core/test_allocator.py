"""Memory that was freed is used again, and is not touched before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from git_theta.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
import numpy as np
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
print(resident())
np.ones(3_000_000)
before = faults()
for _ in range(20):
    np.ones(3_000_000)
print(faults() - before)
"""


def measured(how: str) -> list[int]:
    command = [sys.executable, "-c", SCRIPT, how]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [int(line) for line in said.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc has these settings")
def test_freed_memory_is_not_cleared_again_and_none_is_taken_before_it_is_used() -> None:
    (before, many), (after, few) = measured("as it is"), measured("kept")
    assert few * 5 < many
    assert after < before + 16 * 2**20
