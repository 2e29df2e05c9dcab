"""A small process that removes the demo's directory if the demo itself no longer can (SIGKILL, a closed terminal).

It is run as a plain file (``python -I -S demo_sweeper.py PARENT_PID DIRECTORY``) with only the standard library.
It ends when a byte arrives on standard input (the demo has cleaned up, or the directory is to be kept).
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import time

_STDIN = 0
_ATTEMPTS = 40
_PAUSE_SECONDS = 0.25


def main(argv: list[str]) -> int:
    """Wait until the parent ends or sends a byte."""
    parent, directory = int(argv[0]), argv[1]
    watched = os.pidfd_open(os.getppid())
    if os.getppid() != parent:
        return sweep(directory)
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    poll.register(_STDIN, select.POLLIN)
    ready = {fd for fd, _ in poll.poll()}
    if _STDIN in ready and os.read(_STDIN, 1):
        return 0
    return sweep(directory)


def sweep(directory: str) -> int:
    """Remove the directory; the brokers in it are just ending and may still write."""
    for _ in range(_ATTEMPTS):
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.exists(directory):  # noqa: PTH110 - importing pathlib would take longer than this runs
            return 0
        time.sleep(_PAUSE_SECONDS)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
