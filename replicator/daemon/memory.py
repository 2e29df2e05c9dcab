"""How this process takes memory from the system, and returns it."""

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
"""The collector scans this many objects within ten milliseconds or so."""
_GC_THRESHOLDS = (20_000, 20, 50)


def settle_memory() -> None:
    """Map large blocks, and exclude imported objects from garbage collection.

    Those live forever, and the hot path creates no cycles: full collections would only scan them in vain.
    """
    map_large_blocks()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def map_large_blocks() -> bool:
    """Make glibc map each block of a megabyte or more by itself, so that the system gets it back once it is freed.

    By default, the first such block that is freed raises that threshold to its size, up to 32 MiB. From then on blocks
    of that size come from the heap, where one small block in use above a freed block keeps all of it.

    Returns:
        Whether the C library accepted the setting; only glibc does.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BYTES))
    except (OSError, AttributeError):
        return False


async def collect_while_few() -> NoReturn:
    """Run a full collection once a minute, while there are few objects to scan; until cancelled.

    The collector itself gets to the oldest generation only after thousands of collections: half an hour and longer.
    Until then the reference cycles that lost connections leave behind (frames of errors, half of them in libraries)
    add up, and fragment the memory for what comes after them. With very many partitions one collection would hold up
    the event loop; then it is left to Python. Imported objects are frozen, and not counted.
    """
    while True:
        await asyncio.sleep(_COLLECT_EVERY_SECONDS)
        if len(gc.get_objects()) <= _TRACKED_MAX:
            gc.collect()
