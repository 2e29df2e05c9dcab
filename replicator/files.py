"""Reading local files that an operator named: bounded, and never waiting for anybody."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

PEM_BYTES_MAX = 4 << 20
"""Certificates of every authority of the Web take 0.3 MB."""


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return up to `max_bytes` of a regular file, or of what a link to one leads to.

    A FIFO would wait for a writer for ever, a device may have no end.

    Raises:
        OSError: It cannot be read, or is no regular file; `strerror` says so.
    """
    # Without O_NONBLOCK already opening a FIFO waits, before anything can be known of it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        return file.read(max_bytes)
