"""What an ordinary producer can put into some kilobytes takes neither the memory nor the event loop of a daemon."""

from __future__ import annotations

import asyncio
import json
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from crc32c import crc32c

from replicator.core.copy.values import Phase
from replicator.model.batch import HEADER
from replicator.model.spec import Limits
from tests.unit.engine.log_broker import Log
from tests.unit.engine.log_world import World
from tests.unit.engine.reader_bench import ZERO, Answered, Bench, asked_offsets
from tests.unit.engine.source_broker import SourceBroker, partition
from tests.unit.engine.test_large_batches import MIB, stored, zeros

COUNT, EACH_BYTES = 12, 180 * MIB
BASE_BYTES = 24 * MIB
"""Sockets, frames of the fake broker, and what Python makes of a first call."""


_LONG = pytest.mark.long


@pytest.mark.parametrize(
    "part", ["copied", pytest.param("attached", marks=_LONG), pytest.param("encoded", marks=_LONG)]
)
def test_twelve_batches_of_180_mib_in_70_kb(part: str, tmp_path: Path) -> None:
    """They took 4.4 GiB and held up the event loop for 6 s, again after each restart: all flows died together."""
    packed = [stored(at, zeros(EACH_BYTES)) for at in range(2)]
    assert len(packed[0]) * COUNT < 75_000
    file = tmp_path / "batches.json"
    file.write_text(json.dumps([one.hex() for one in packed]))
    ended = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import measure; measure({part!r}, {str(file)!r})"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ended.returncode == 0, ended.stderr
    peak_bytes, stalled_seconds = json.loads(ended.stdout.splitlines()[-1])
    assert peak_bytes < Limits().in_flight_bytes + BASE_BYTES
    assert stalled_seconds < 2.0  # on a machine that does other things, too; it was 6 on one that did not


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def measure(part: str, file: str) -> None:
    """Print how much memory was taken beyond that of an idle process, and for how long the event loop stood."""
    first, _ = (bytes.fromhex(one) for one in json.loads(Path(file).read_text()))
    found = asyncio.run({"copied": _copy, "attached": _attach, "encoded": _encode}[part](first))
    sys.stdout.write(json.dumps(found) + "\n")


def _at(raw: bytes, offset: int, *, producer_id: int = -1, hole: int = 0) -> bytes:
    """Return a batch at another offset, of another producer, or with offsets behind its record that hold none."""
    moved = bytearray(raw)
    fields = list(HEADER.unpack_from(moved))
    fields[0], fields[6] = offset, fields[6] + hole
    if producer_id >= 0:
        fields[9:12] = [producer_id, 0, offset]
    HEADER.pack_into(moved, 0, *fields)
    struct.pack_into(">I", moved, 17, crc32c(memoryview(moved)[21:]))
    return bytes(moved)


class _Watch:
    """How long the event loop stood, and what memory was taken meanwhile."""

    def __init__(self) -> None:
        self.stalled = 0.0
        self.began_bytes = _peak_bytes()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            at = now()
            await asyncio.sleep(0.005)
            self.stalled = max(self.stalled, now() - at - 0.005)

    def found(self) -> tuple[int, float]:
        self.task.cancel()
        return _peak_bytes() - self.began_bytes, self.stalled


async def _copy(raw: bytes) -> tuple[int, float]:
    """Read all of them in one answer."""
    log = b"".join(_at(raw, offset) for offset in range(COUNT))
    return await _read(log, COUNT, stops=False)


async def _encode(raw: bytes) -> tuple[int, float]:
    """The same with a hole in each: to be encoded anew they would have to be opened."""
    log = b"".join(_at(raw, 2 * number, hole=1) for number in range(COUNT))
    return await _read(log, 2 * COUNT, stops=True)


async def _read(log: bytes, end: int, *, stops: bool) -> tuple[int, float]:
    async def answer(_broker: SourceBroker, fetch: object) -> Answered:
        await asyncio.sleep(0.01)
        return {ZERO: partition(ZERO, log, end=end)} if 0 in asked_offsets(fetch).values() else {}  # type: ignore[arg-type]

    bench = Bench(SourceBroker(1, answer))
    await bench.begin(["orders-1"])
    watch = _Watch()
    slot = bench.read(ZERO, 0, compacted=True)
    await bench.until(lambda: slot.copy.is_faulted() if stops else slot.copy.acked_offset == end)
    found = watch.found()
    bench.close()
    return found


async def _attach(raw: bytes) -> tuple[int, float]:
    """Compare the last of them on both sides."""
    world = World()
    await world.begin()
    watch = _Watch()
    there, here = ([_at(raw, at, producer_id=who) for at in range(COUNT)] for who in (-1, 100))
    slot = world.add(ZERO, Log(there, end=COUNT), Log(here, end=COUNT))
    world.run()
    await world.until(lambda: slot.copy.phase is Phase.COPYING)
    found = watch.found()
    world.close()
    return found
