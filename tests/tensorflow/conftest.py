"""What TensorFlow's tests share: the users and repositories of the end-to-end tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location(
    "end_to_end_users", Path(__file__).parents[1] / "end_to_end" / "conftest.py"
)
assert _SPEC
assert _SPEC.loader
_users = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _users
_SPEC.loader.exec_module(_users)

newcomer, desk = _users.newcomer, _users.desk
