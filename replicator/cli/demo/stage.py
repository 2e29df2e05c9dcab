"""What the demo runs on: two clusters, a daemon in its own process, and one directory that holds everything.

However the demo ends, nothing outlives it, unless it is handed over (`--keep`): the devkit's guard stops the brokers
and the daemon, a sweeper removes the directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from replicator.cli.demo import sweeper as demo_sweeper
from replicator.devkit import Cluster, ClusterConfig, free_base_port, start_clusters
from replicator.devkit.runtime import guard
from replicator.devkit.runtime.processes import ProcessRef, stop_processes
from replicator.errors import ReplicatorError, UsageError
from replicator.model.status.states import MirrorState

FLOW = "east-to-west"
BACK = "west-to-east"
_HOST = "127.0.0.1"
_TAIL_LINES = 12
_STOP_SECONDS = 10.0
_ANSWER_SECONDS = 2.0
_USER_TIME_FIELD, _SYSTEM_TIME_FIELD = 11, 12
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_HEAP_MB = 320


@dataclass(frozen=True, slots=True)
class Moment:
    """What the daemon has done so far: bytes and records since its start, its CPU time, and the time of reading."""

    seconds: float
    bytes: int
    records: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the copy was between two moments."""

    bytes: int
    bytes_per_second: float
    cpu_seconds_per_gb: float


def pace(before: Moment, after: Moment) -> Pace | None:
    """Return the pace between two moments, or None if nothing was copied."""
    size, seconds = after.bytes - before.bytes, after.seconds - before.seconds
    if size <= 0 or seconds <= 0:
        return None
    return Pace(size, size / seconds, (after.cpu_seconds - before.cpu_seconds) / (size / 1e9))


def flow_file(east: Cluster, west: Cluster, topics: tuple[str, ...], port: int) -> str:
    """Return the text of the demo's flow file."""
    return f"""\
# yaml-language-server: $schema=./replicator.schema.json
version: 1
daemon: {{state_dir: ./state, http: "{_HOST}:{port}", rpc: "{_HOST}:{port + 1}"}}
clusters:
  east: {{bootstrap: "{east.bootstrap}", cluster_id: "{east.cluster_id}"}}
  west: {{bootstrap: "{west.bootstrap}", cluster_id: "{west.cluster_id}"}}
flows:
  {FLOW}:
    from: east
    to: west
    topics: {{include: [{", ".join(topics)}]}}
  {BACK}:
    from: west
    to: east
    topics: {{include: [{", ".join(topics)}]}}
    reverse_of: {FLOW}
"""


class Daemon:
    """`replicator run FILE` as a process that ends with us.

    Attributes:
        log_file: Its log, over all its starts.
        rpc: Where it takes orders.
        shown: The flow to watch.
    """

    def __init__(self, file: Path, port: int, *, releasable: bool) -> None:
        self.log_file = file.parent / "daemon.log"
        self.process: ProcessRef | None = None
        self.rpc = f"{_HOST}:{port + 1}"
        self.shown = FLOW
        self._file = file
        self._port = port
        self._mode = "release" if releasable else "keep"
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Start it; it begins to serve some time later."""
        command = [sys.executable, "-m", "replicator.cli.main", "run", str(self._file)]
        with self.log_file.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), self._mode, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is ours to handle
            )
        self._guard = child
        line = child.stdout.readline() if child.stdout else b""
        if not line.strip().isdigit():
            raise ReplicatorError("the daemon could not be started", why=self.log_tail())
        self.process = ProcessRef.of(int(line))

    def kill(self) -> None:
        """End it by SIGKILL: it can neither finish nor clean up anything."""
        if self.process is not None:
            self.process.signal(signal.SIGKILL)
            self.process.wait(_STOP_SECONDS)
        self._reap()

    def stop(self) -> None:
        """Stop it cleanly."""
        if self.process is not None:
            stop_processes([self.process], _STOP_SECONDS)
        self._reap()

    def release(self) -> None:
        """Let it outlive this process."""
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(b"r")
            self._guard.stdin.flush()
        self._reap()

    def _reap(self) -> None:
        if self._guard is None:
            return
        self._guard.wait()
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                pipe.close()
        self._guard = None

    def check(self) -> None:
        """Raise if it has ended on its own."""
        if not self.alive:
            raise ReplicatorError("the daemon has ended", why=f"its log ends with:\n{self.log_tail()}")

    def status(self) -> dict[str, Any] | None:
        """Return its status of the flow (as in `flow status -o json`), or None while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{_HOST}:{self._port}/status", timeout=_ANSWER_SECONDS) as answer:
                flows = json.load(answer)["flows"]
                return next((dict(flow) for flow in flows if flow["flow"] == self.shown), None)
        except (OSError, ValueError):  # a refused connection, or one cut off in the middle
            return None

    def stopped_partitions(self) -> list[str]:
        """Return one sentence for each partition that has stopped."""
        return [
            f"{mirror['topic']}-{part['partition']}: {part['reason']}: {part['detail']}"
            for mirror in (self.status() or {"mirrors": ()})["mirrors"]
            for part in mirror["partitions"]
            if part["state"] == MirrorState.FAULTED
        ]

    def moment(self) -> Moment | None:
        """Return what it has done so far, or None while it does not answer."""
        flow = self.status()
        if flow is None or self.process is None:
            return None
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        ticks = int(fields[_USER_TIME_FIELD]) + int(fields[_SYSTEM_TIME_FIELD])
        totals = flow["totals"]
        return Moment(time.monotonic(), totals["bytes_total"], totals["records_total"], ticks / _TICKS_PER_SECOND)

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        try:
            lines = self.log_file.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-_TAIL_LINES:])


class Stage:
    """Two clusters, the flow file and the daemon, all in one directory."""

    def __init__(self, directory: Path, topics: tuple[str, ...], *, keep: bool) -> None:
        self.directory = directory
        self.file = directory / "demo.yaml"
        self.east, self.west = (
            Cluster(ClusterConfig(name, directory / "clusters" / name, free_base_port(1), heap_mb=_HEAP_MB))
            for name in ("east", "west")
        )
        self.port = free_base_port(1)
        self.daemon = Daemon(self.file, self.port, releasable=keep)
        self._topics = topics
        self._handed_over = False

    def start_clusters(self) -> None:
        """Start both clusters and write the flow file, which names their ids."""
        start_clusters([self.east, self.west])
        self.file.write_text(flow_file(self.east, self.west, self._topics, self.port))

    def end(self) -> None:
        """Kill everything: none of it is needed any longer. What was handed over stays."""
        if self._handed_over:
            return
        for cluster in (self.east, self.west):
            cluster.kill()
        self.daemon.kill()

    def hand_over(self) -> None:
        """Let clusters and daemon run on without this process, managed by `replicator dev`."""
        from replicator.devkit import local  # only with --keep

        self.daemon.stop()
        for cluster in (self.east, self.west):
            cluster.stop()
        local.up(self.directory / "clusters", [self.east.config, self.west.config])
        self.daemon.start()
        self.daemon.release()
        self._handed_over = True


@contextmanager
def workplace(wanted: Path | None, *, keep: bool) -> Iterator[Path]:
    """Provide an empty directory, and remove it at the end unless `keep`; a sweeper does it if we cannot.

    Raises:
        UsageError: The requested directory is not empty.
    """
    made = not (wanted and wanted.exists())
    directory = _empty(wanted)
    sweeper = None if keep else _sweeper(directory)
    try:
        yield directory
    finally:
        if sweeper is not None:
            with _no_interrupt():
                shutil.rmtree(directory, ignore_errors=True)
                if not made:  # it was the user's, and empty
                    directory.mkdir(exist_ok=True)
                sweeper.communicate(b"r")


def _empty(wanted: Path | None) -> Path:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="replicator-demo-"))
    directory = wanted.absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        holds = next(directory.iterdir(), None)
    except OSError as error:
        raise UsageError(f"--dir {wanted} cannot be used", next_step=error.strerror or "") from error
    if holds is not None:
        raise UsageError(f"--dir {wanted} is not empty", next_step="the demo wipes it: name a new directory")
    return directory


def _sweeper(directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own file
        [sys.executable, "-I", "-S", demo_sweeper.__file__, str(os.getpid()), str(directory)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Hold off a second Ctrl-C until the cleanup is done; that takes a moment."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ending(stage: Stage) -> Iterator[None]:
    """End everything of a stage on the way out, even if a signal ends us."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # killed on purpose: no core files
    try:
        yield
    finally:
        with _no_interrupt():
            stage.end()
        for number, handler in before.items():
            signal.signal(number, handler)


def timed_out(what: str, seconds: float, daemon: Daemon) -> ReplicatorError:
    """Return the error for a wait that did not end, with what the daemon says."""
    flow = daemon.status()
    state = "the daemon does not answer" if flow is None else f"the flow is {flow['state']}, {flow['reason'] or ''}"
    return ReplicatorError(
        f"{what}: not within {seconds:.0f} s",
        why=f"{state}; its log ends with:\n{daemon.log_tail()}",
        next_step="replicator demo --keep keeps everything for inspection",
    )
