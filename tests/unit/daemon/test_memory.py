"""Large blocks go back to the system."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref

import pytest

from replicator.daemon import memory
from replicator.daemon.memory import collect_while_few, map_large_blocks

_ROUNDS = """
from pathlib import Path
from replicator.daemon.memory import map_large_blocks


def resident_megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024


assert map_large_blocks()
kept, before = [], resident_megabytes()
for round_ in range(6):
    frames = []
    for _ in range(5 + round_ % 3):
        frames.append(bytearray(b"x") * (6 << 20))
        kept.append(bytes(600_000))  # what would lie above a frame in the heap
    frames.clear()
print(resident_megabytes() - before)
"""


@pytest.mark.skipif(not map_large_blocks(), reason="the C library is not glibc")
def test_what_frames_took_is_given_back_though_smaller_blocks_stay() -> None:
    """36 blocks of 0.6 MB stay, and none of 6 MB: without it more than 40 MB stayed."""
    done = subprocess.run([sys.executable, "-c", _ROUNDS], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 36


class _Ring:
    """Something that only the collector takes apart."""

    def __init__(self) -> None:
        self.ring = self


@pytest.mark.parametrize(("tracked_max", "gone"), [(1 << 40, True), (0, False)])
async def test_old_garbage_is_collected_while_there_is_little_to_look_through(
    monkeypatch: pytest.MonkeyPatch, tracked_max: int, *, gone: bool
) -> None:
    """It stayed for half an hour and longer, as young collections leave it alone."""
    monkeypatch.setattr(memory, "_COLLECT_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(memory, "_TRACKED_MAX", tracked_max)
    ring = weakref.ref(_Ring())
    gc.disable()
    try:
        task = asyncio.create_task(collect_while_few())
        await asyncio.sleep(0.1)
        task.cancel()
    finally:
        gc.enable()
    assert (ring() is None) is gone
