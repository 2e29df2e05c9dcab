"""How this process takes memory from the system, and gives it back."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from typing import NoReturn

_MMAP_THRESHOLD = -3
"""`M_MMAP_THRESHOLD` of mallopt(3)."""
_LARGE_BYTES = 1 << 20
_COLLECT_EVERY_SECONDS = 60.0
_TRACKED_MAX = 100_000
"""Objects that are looked through within ten milliseconds or so."""
_GC_THRESHOLDS = (20_000, 20, 50)


def settle_memory() -> None:
    """Let large blocks be mapped, and collections leave out what was imported.

    That lives for ever, and the hot path makes no cycles: full collections would only walk it.
    """
    map_large_blocks()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def map_large_blocks() -> bool:
    """Have glibc map each block of a megabyte or more by itself, so that the system has it back once it is freed.

    By default the first of them that is freed raises that threshold to its size, up to 32 MiB. From then on blocks of
    that size come from the heap, where a small block that is still in use above a freed one keeps all of it.

    Returns:
        Whether the C library could be told; others than glibc cannot.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BYTES))
    except (OSError, AttributeError):
        return False


async def collect_while_few() -> NoReturn:
    """Collect garbage of all ages once a minute, while there is little to look through; until cancelled.

    The collector itself gets to the oldest after thousands of collections: half an hour and longer. Until then what a
    lost connection leaves behind in rings (frames of errors, half of them in libraries) adds up, and scatters over the
    memory what comes after it. With very many partitions one collection would hold up the event loop: then it is left
    to Python. What was imported is frozen, and not counted.
    """
    while True:
        await asyncio.sleep(_COLLECT_EVERY_SECONDS)
        if len(gc.get_objects()) <= _TRACKED_MAX:
            gc.collect()
