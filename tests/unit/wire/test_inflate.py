"""Decompression ends at its bound while it runs."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
import tracemalloc
import zlib

import cramjam
import pytest
from aiokafka import codec as codecs
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.wire.batches.inflate import inflate

ENCODE = {0: bytes, 1: codecs.gzip_encode, 2: codecs.snappy_encode, 3: codecs.lz4_encode, 4: codecs.zstd_encode}
COMPRESSED = [codec for codec in ENCODE if codec]
MIB = 1 << 20


@given(codec=st.sampled_from(list(ENCODE)), data=st.binary(max_size=3000), times=st.integers(1, 200))
def test_what_a_client_packed_comes_out(codec: int, data: bytes, times: int) -> None:
    """At a bound of just as many bytes, and not below."""
    plain = data * times
    packed = memoryview(ENCODE[codec](plain))
    assert bytes(inflate(codec, packed, len(plain))) == plain
    if plain:
        with pytest.raises(TooLargeToOpen, match=f"more than {len(plain) - 1} bytes"):
            inflate(codec, packed, len(plain) - 1)


@pytest.mark.parametrize(
    "packed",
    [
        (1, gzip.compress(b"ab") + gzip.compress(b"") + gzip.compress(b"c")),
        (2, bytes(cramjam.snappy.compress_raw(b"abc"))),
        (3, bytes(cramjam.lz4.compress(b"ab")) + bytes(cramjam.lz4.compress(b"c"))),
        (4, bytes(cramjam.zstd.compress(b"ab")) + bytes(cramjam.zstd.compress(b"c"))),
    ],
)
def test_other_clients_pack_otherwise(packed: tuple[int, bytes]) -> None:
    """Several members or frames, one behind the other; snappy without xerial's blocks."""
    codec, data = packed
    assert bytes(inflate(codec, memoryview(data), 100)) == b"abc"


@pytest.mark.parametrize("codec", [*COMPRESSED, 7])
@pytest.mark.parametrize("damage", ["cut", "other", "empty block"])
def test_damage_is_no_lack_of_room(codec: int, damage: str) -> None:
    """An operator mends the two in different ways."""
    sound = ENCODE.get(codec, bytes)(b"abcdefgh" * 1000)
    data = {"cut": sound[:-7], "other": b"\x00\xff" * 40, "empty block": sound[:17]}[damage]
    with pytest.raises(CorruptRecords, match="cannot be decompressed"):
        inflate(codec, memoryview(data), 1 << 20)


@pytest.mark.parametrize("codec", COMPRESSED)
def test_nothing_is_allocated_first_and_asked_for_later(codec: int) -> None:
    """16 MiB of zeros in some kilobytes: at a bound of 4 MiB, Python's own allocations stay near it."""
    packed = memoryview(ENCODE[codec](bytes(16 * MIB)))
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeToOpen):
            inflate(codec, packed, 4 * MIB)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 11 * MIB


@pytest.mark.parametrize("codec", COMPRESSED)
def test_what_the_codecs_allocate_themselves_is_bounded_too(codec: int) -> None:
    """Rust's allocations are none of Python's: the process as a whole shows them."""
    plain = bytes(96 * MIB)
    packed = {
        1: lambda: gzip.compress(plain, 1),
        2: lambda: bytes(cramjam.snappy.compress_raw(plain)),
        3: lambda: bytes(cramjam.lz4.compress(plain)),
        4: lambda: bytes(cramjam.zstd.compress(plain)),
    }[codec]()
    script = (
        "import sys, resource\n"
        "from replicator.wire.batches.inflate import inflate\n"
        "from replicator.errors import TooLargeToOpen\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "data = memoryview(sys.stdin.buffer.read())\n"
        "before = peak()\n"
        "try:\n"
        "    inflate(int(sys.argv[1]), data, 16 << 20)\n"
        "except TooLargeToOpen:\n"
        "    print(peak() - before)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(codec)], input=packed, capture_output=True, check=True, timeout=120
    )
    assert int(ended.stdout) < 48


def test_members_cost_what_they_are_and_not_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder copies what follows its member: a batch of members of twenty bytes kept the only thread for an hour."""
    members, fed_bytes = 20_000, 0
    real = zlib.decompressobj

    class Metered:
        def __init__(self, bits: int) -> None:
            self._real = real(bits)

        def decompress(self, data: memoryview, length: int) -> bytes:
            nonlocal fed_bytes
            fed_bytes += len(data)
            return self._real.decompress(data, length)

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    monkeypatch.setattr(zlib, "decompressobj", Metered)
    data = gzip.compress(b"abc") + gzip.compress(b"") * members
    assert bytes(inflate(1, memoryview(data), 1 << 20)) == b"abc"
    assert fed_bytes < 20 * len(data)


@pytest.mark.parametrize("size", [0, 1, 255, 100_000, 1 << 20, (1 << 20) + 1, 5 << 20])
@pytest.mark.parametrize("members", [1, 3])
def test_a_gzip_stream_may_end_anywhere(size: int, members: int) -> None:
    """At its bound, within a piece, and where a part is full."""
    noise = random.Random(size)  # noqa: S311 - no secret
    plain = bytes(size // 2) + noise.randbytes(size - size // 2)
    data = memoryview(gzip.compress(plain, 1) * members)
    assert bytes(inflate(1, data, size * members)) == plain * members
    for cut in (1, 9):
        with pytest.raises(CorruptRecords):
            inflate(1, data[:-cut], size * members + 1)
