"""TensorFlow checkpoints: ``PREFIX.data-00000-of-00002`` with tensors, ``PREFIX.index`` beside it.

A data file is bytes and nothing else; what they are, the index says. The index has a CRC-32C of
every tensor, so it changes with each splice. It has no groups and is stored as any other file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.dtypes import count_bytes
from git_theta.errors import CheckpointError
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.source import BytesSource, Source
from theta_tensorflow.bundle.checksums import masked_of
from theta_tensorflow.bundle.entries import DTYPES, BundleTensor, Index, read_index
from theta_tensorflow.bundle.sstable import mended
from theta_tensorflow.folders import find_checkpoints

_DATA = re.compile(r"(.*)\.data-(\d{5})-of-(\d{5})", re.DOTALL)


class TensorFlow(CheckpointFormat):
    """The data files of ``tf.train.Checkpoint``, ``tf.compat.v1.train.Saver`` and SavedModels."""

    name = "tensorflow"

    def matches(self, head: bytes, path: str) -> bool:
        """Tensors have no magic number, so the name has to do."""
        return bool(_DATA.fullmatch(path.rpartition("/")[2]))

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Lay the tensors of the index over the file; strings and the like are left out."""
        index, shard = _read_beside(context)
        tensors = [tensor for tensor in index.tensors if tensor.shard == shard]
        end = max((tensor.start + tensor.nbytes for tensor in tensors), default=0)
        if end != file.size:
            raise CheckpointError(
                f"Expected {end} bytes, as {_index_name(context.path)} says, found {file.size}: "
                "they are not of one checkpoint"
            )
        known = sorted(
            (tensor for tensor in tensors if tensor.dtype in DTYPES),
            key=lambda tensor: (tensor.start, tensor.nbytes),
        )
        for tensor in known:
            _check_size(tensor)
        return Layout(
            tuple(Buffer(DTYPES[t.dtype], t.start, t.nbytes, index.big_endian) for t in known),
            tuple(Tensor(t.name, DTYPES[t.dtype], t.shape, n) for n, t in enumerate(known)),
        )

    def splice_beside(
        self,
        template: Source,
        layout: Layout,
        changed: Mapping[int, Source],
        context: ScanContext,
    ) -> Mapping[str, Source]:
        """The index with the CRCs of the new values."""
        index, shard = _read_beside(context)
        places = {
            (t.start, t.nbytes): t for t in index.tensors if t.shard == shard and t.dtype in DTYPES
        }
        patches: dict[int, bytes] = {}
        for number, value in changed.items():
            buffer = layout.buffers[number]
            tensor = places[buffer.start, buffer.nbytes]
            if not tensor.crc:
                raise CheckpointError(f"The index has no CRC of {tensor.name!r} to be replaced")
            patches[tensor.crc] = masked_of(value).to_bytes(4, "little")
        if not patches:
            return {}
        return {_index_name(context.path): BytesSource(mended(index.table, patches))}

    def folders(self, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """SavedModels, and other folders that hold checkpoints."""
        return find_checkpoints(names)

    def write_to(
        self,
        tensors: Mapping[str, TensorData],
        template: Source | None,
        path: Path,
        context: ScanContext,
    ) -> None:
        """Write a checkpoint of one data file and its index through TensorFlow.

        What a template holds besides numbers (its graph of objects, strings) is kept.
        """
        from theta_tensorflow.writing import write_with_tensorflow

        match = _DATA.fullmatch(path.name)
        if not match or match[3] != "00001":
            raise CheckpointError(
                f"Expected a name that ends in .data-00000-of-00001, found {path.name!r}"
            )
        beside = None if template is None else (template, *_read_beside(context))
        write_with_tensorflow(tensors, beside, path.with_name(match[1]), context)


def _index_name(path: str) -> str:
    match = _DATA.fullmatch(path.rpartition("/")[2])
    return f"{match[1] if match else ''}.index"


def _read_beside(context: ScanContext) -> tuple[Index, int]:
    """The index beside a data file, and which of its data files that is."""
    name = _index_name(context.path)
    match = _DATA.fullmatch(context.path.rpartition("/")[2])
    if not match:
        raise CheckpointError(f"Expected the name of a data file, found {context.path!r}")
    file = context.sibling(name)
    if file is None:
        raise CheckpointError(
            f"Expected {name} beside it, which says what its bytes are",
            remedy="Add the files of a checkpoint together",
        )
    try:
        index = read_index(file)
    except CheckpointError as fault:
        raise CheckpointError(f"{name} beside it is malformed: {fault}") from fault
    if index.shards != int(match[3]):
        raise CheckpointError(
            f"Expected one of {index.shards} data files, as {name} says, found one of {match[3]}"
        )
    return index, int(match[2])


def _check_size(tensor: BundleTensor) -> None:
    dtype = DTYPES[tensor.dtype]
    if max(tensor.shape, default=0) >= 2**63 or count_bytes(dtype, tensor.shape) != tensor.nbytes:
        raise CheckpointError(
            f"Expected {tensor.nbytes} bytes, found {dtype} of shape {list(tensor.shape)} in the "
            f"index for {tensor.name!r}"
        )
