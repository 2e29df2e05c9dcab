"""How this process takes memory from the system, and gives it back."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD = -3
"""`M_MMAP_THRESHOLD` of mallopt(3)."""
_LARGE_BYTES = 1 << 20


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
