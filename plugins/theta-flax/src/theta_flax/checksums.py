"""CRC-32C, with which OCDBT and shards of zarr guard what tells where numbers lie."""

from __future__ import annotations

from git_theta.errors import CheckpointError


def check_crc(data: bytes, expected: bytes | memoryview, what: str) -> None:
    """Check bytes against their CRC-32C, little-endian.

    Raises
    ------
    CheckpointError
        When they have another.
    """
    import google_crc32c

    crc, found = int.from_bytes(expected, "little"), google_crc32c.value(data)
    if crc != found:
        raise CheckpointError(f"Expected the CRC {crc:08x} of {what}, found {found:08x}")
