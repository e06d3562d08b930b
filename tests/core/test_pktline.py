"""git's packets, whatever parts of them a read gives."""

from __future__ import annotations

import os
import random
import threading

import pytest

from git_theta.errors import GitError
from git_theta.git.pktline import MAX_PACKET, PacketReader


def packets(data: bytes, sizes: list[int]) -> bytes:
    """``data`` in packets of such payloads, the last ones full, and a flush."""
    found, at = [], 0
    for size in [*sizes, *[MAX_PACKET] * (len(data) // MAX_PACKET + 1)]:
        if payload := data[at : at + size]:
            found.append(b"%04x%s" % (len(payload) + 4, payload))
        at += size
    return b"".join([*found, b"0000"])


def reader_of(stream: bytes, *, cuts: random.Random | None = None) -> PacketReader:
    """Reads a stream that is written by a thread, in parts of random lengths."""
    reader, writer = os.pipe()

    def write() -> None:
        rest = memoryview(stream)
        while rest:
            count = cuts.choice((1, 3, 5, 4096, MAX_PACKET, 2**20)) if cuts else len(rest)
            rest = rest[os.write(writer, rest[:count]) :]
        os.close(writer)

    threading.Thread(target=write, daemon=True).start()
    return PacketReader(reader)


@pytest.mark.parametrize("seed", range(12))
def test_content_is_what_was_sent_however_it_is_cut(seed: int) -> None:
    choose = random.Random(seed)
    data = choose.randbytes(choose.choice((0, 1, MAX_PACKET, 17 * MAX_PACKET, 3_000_000)))
    sizes = [choose.choice((1, 700, MAX_PACKET - 1, MAX_PACKET)) for _ in range(seed % 4 * 9)]
    stream = packets(data, sizes) + packets(b"command=clean\n", [])
    reader = reader_of(stream * 2, cuts=choose)
    for _ in range(2):
        assert b"".join(bytes(part) for part in reader.content()) == data
        assert reader.lines() == ["command=clean"]
    with pytest.raises(EOFError):
        reader.packet()


def test_full_packets_come_many_at_once_behind_a_request() -> None:
    content = packets(bytes(40 * MAX_PACKET), [])
    reader = reader_of((packets(b"command=clean\n", []) + content) * 2)
    for _ in range(2):
        assert reader.lines() == ["command=clean"]
        assert [len(part) // MAX_PACKET for part in reader.content()] == [16, 16, 8]


@pytest.mark.parametrize("nbytes", [3, 4, 5, MAX_PACKET + 3, MAX_PACKET + 9])
def test_a_stream_that_ends_inside_a_packet_is_an_error(nbytes: int) -> None:
    reader = reader_of(packets(bytes(3 * MAX_PACKET), [])[:nbytes])
    with pytest.raises(GitError, match="from git, found"):
        list(reader.content())


def test_what_is_no_packet_is_an_error() -> None:
    with pytest.raises(GitError, match="Expected a packet from git, found"):
        list(reader_of(b"what is that").content())
