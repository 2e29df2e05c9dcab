"""A small process between us and one broker, so that the broker never outlives us.

Run as a plain file (``python -I -S guard.py PARENT_PID keep|release COMMAND...``), with the standard library
only, so that it starts in about 20 ms. It starts the command, prints its pid on standard output, and then waits
for the first of:

* the command ends: the guard ends too, with the same status;
* the parent ends, in whatever way: the guard kills the command;
* with ``release``: a byte on standard input. The guard ends and the command stays, on its own from then on.

Why not just PR_SET_PDEATHSIG on the broker: that signal is tied to the *thread* that started the child, and worker
threads start clusters. The guard watches the parent through a pidfd, which becomes readable when the whole process
is gone (no thread, no inherited pipe end and no recycled pid can confuse it). PR_SET_PDEATHSIG covers the one case
left, the death of the guard itself: there it is safe, since the guard has a single thread. (It cannot be undone
from outside, so a command that may be released does without.)
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_STARTED_TOO_LATE = 125
_STDIN = 0


def main(argv: list[str]) -> int:
    """Run ``argv[2:]`` for as long as process ``argv[0]`` lives; return its exit status."""
    parent = int(argv[0])
    releasable = argv[1] == "release"
    command = argv[2:]
    parent_fd = os.pidfd_open(os.getppid())
    if os.getppid() != parent:  # it died before the open: that pidfd is someone else's
        return _STARTED_TOO_LATE
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        _become(command, guard, releasable=releasable)
    os.write(1, f"{child}\n".encode())
    os.close(1)
    return _watch(child, parent_fd, releasable=releasable)


def _watch(child: int, parent_fd: int, *, releasable: bool) -> int:
    child_fd = os.pidfd_open(child)  # the pid cannot be recycled: the child is ours, and nobody has waited for it yet
    poll = select.poll()
    poll.register(parent_fd, select.POLLIN)
    poll.register(child_fd, select.POLLIN)
    if releasable:
        poll.register(_STDIN, select.POLLIN)
    ready = {fd for fd, _ in poll.poll()}
    if _STDIN in ready and os.read(_STDIN, 1):  # an end of file is not a release: the parent is ending
        return 0
    if child_fd not in ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(command: list[str], guard: int, *, releasable: bool) -> NoReturn:
    """Turn this forked child into the command."""
    if not releasable:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:  # the guard died before the request above took effect
        os._exit(_STARTED_TOO_LATE)
    os.dup2(os.open(os.devnull, os.O_RDONLY), _STDIN)
    os.dup2(2, 1)  # standard output belongs to the guard's one line
    try:
        os.execvp(command[0], command)  # noqa: S606 - the broker's own command line, no shell
    finally:
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
