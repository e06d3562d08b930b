"""Makes few packs of many: payloads are moved as they are, nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from git_theta.storage.folder import PackFolder
from git_theta.storage.pack import DIRECTORY_BYTES, PACK_BYTES, Pack, PackWriter


def combine(packs: Iterable[Pack], folder: PackFolder) -> list[str]:
    """Write the payloads of packs, in order, into as few packs as that takes; their names.

    A pack is ended as any other is. The packs that are given are left alone.

    Raises
    ------
    OSError
        When the folder's disk is full.
    PackError
        When a pack is damaged.
    """
    payloads = _payloads(packs)
    names: list[str] = []
    for first in payloads:
        path = folder.new_file()
        with path.open("wb", buffering=2**20) as file:
            writer = PackWriter(file)
            _copy(first, writer)
            while not _full(writer) and (following := next(payloads, None)):
                _copy(following, writer)
            names.append(writer.finish())
        folder.adopt(path, names[-1])
    return names


def _payloads(packs: Iterable[Pack]) -> Iterator[tuple[Pack, int]]:
    return ((pack, number) for pack in packs for number in range(len(pack)))


def _full(writer: PackWriter) -> bool:
    return writer.nbytes >= PACK_BYTES or writer.directory_bytes >= DIRECTORY_BYTES


def _copy(one: tuple[Pack, int], writer: PackWriter) -> None:
    pack, number = one
    payload = pack.payload(number)
    for block in pack.file.window(payload.start, payload.nbytes).blocks():
        writer.write(block)
    nbytes, update, params, depth, cost, bases, parts, buffers = pack.row(number)
    named = [[writer.name(*name), *rest] for name, *rest in parts]
    row = [writer.name(*update), params, depth, cost, bases, named, buffers]
    writer.end_payload(row, nbytes)
