"""Which zip files are told to be Keras's, where they cannot be read."""

from __future__ import annotations

import io
import zipfile

import pytest

from git_theta.formats.detect import detect
from git_theta.plugins import installed
from git_theta.source import BytesSource


@pytest.mark.parametrize(("name", "told"), [("m.keras", True), ("m.pt", False)])
def test_a_zip_that_was_cut_is_told_to_be_keras_by_its_name_alone(name: str, told: bool) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", b"{}")
    found = detect(BytesSource(file.getvalue()[:-30]), name, installed())
    assert found.formats == ("unknown",)
    assert (f"{name} looks like keras" in found.warning) is told
    assert f"{name} looks like" in found.warning
