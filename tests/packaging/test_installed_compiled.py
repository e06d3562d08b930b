"""Whether these tests run with what is compiled: else its own tests are skipped unseen."""

from __future__ import annotations

import os
import shutil

import pytest

from git_theta.compiled import kernels


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.skipif(os.environ.get("GIT_THETA_COMPILED") == "0", reason="left out on purpose")
def test_the_kernel_was_compiled_where_it_could_be() -> None:
    assert kernels
    assert kernels.name.startswith("kernels")
