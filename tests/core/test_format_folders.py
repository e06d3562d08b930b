"""Which folders count as checkpoints, by what formats say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from synthetic import Synthetic, plugins

from git_theta.formats.folders import Folder, find_folders


def test_a_folder_in_which_nothing_would_be_stored_is_no_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def folders(_: Synthetic, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        return {"empty": (), "full": ("*.bin",)}

    monkeypatch.setattr(Synthetic, "folders", folders)
    assert find_folders(["empty/manifest", "full/1.bin"], plugins()) == {
        "full": Folder(Synthetic.name, ("*.bin",))
    }
