"""Processes by identity (pid *and* start time), so that a recycled pid is never signalled."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 10.0
"""How long a broker may take to end after SIGTERM before it gets SIGKILL."""

_KILL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """One process, valid until the next boot.

    Attributes:
        pid: Its number, which the kernel reuses some time after it ends.
        start_ticks: Its start, in clock ticks since boot: with `boot_id` it distinguishes processes with one pid.
        boot_id: The boot it runs in.
    """

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessRef:
        """Return the identity of a running process.

        Raises:
            ProcessLookupError: There is none with that number.
        """
        fields = _stat(pid)
        if fields is None:
            raise ProcessLookupError(pid)
        return cls(pid, int(fields[_START_FIELD]), _boot_id())

    @property
    def alive(self) -> bool:
        """Whether it is still running; one that ended and waits for its parent (a zombie) is not."""
        fields = _stat(self.pid)
        return (
            fields is not None
            and fields[_STATE_FIELD] not in {"Z", "X"}
            and int(fields[_START_FIELD]) == self.start_ticks
            and _boot_id() == self.boot_id
        )

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to exactly this process; return False if it is no longer running."""
        with self._handle() as handle:
            if handle is None:
                return False
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return False
            return True

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for it to end; return whether it did in time."""
        with self._handle() as handle:
            if handle is None:
                return True
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            return bool(poll.poll(max(0.0, timeout_seconds) * 1000))

    @contextmanager
    def _handle(self) -> Iterator[int | None]:
        """Yield a pidfd, or None. The identity is checked after the open: the fd cannot change hands then."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield handle if self.alive else None
        finally:
            os.close(handle)


def stop_processes(processes: Iterable[ProcessRef], timeout_seconds: float = STOP_SECONDS) -> None:
    """Ask all of them to end, wait, and kill those that did not."""
    running = list(processes)
    for process in running:
        process.signal(signal.SIGCONT)  # a stopped process would sleep through SIGTERM
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + timeout_seconds
    kill_processes([p for p in running if not p.wait(deadline - time.monotonic())])


def kill_processes(processes: Iterable[ProcessRef]) -> None:
    """Kill all of them and wait until they are gone."""
    running = list(processes)
    for process in running:
        process.signal(signal.SIGKILL)
    for process in running:
        process.wait(_KILL_SECONDS)


# Fields of /proc/PID/stat after the command name, which is in brackets and may contain anything (proc_pid_stat(5)).
_STATE_FIELD = 0
_START_FIELD = 19


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
