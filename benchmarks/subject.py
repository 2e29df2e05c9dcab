"""Our daemon as a process under measurement.

It runs from a virtual environment of its own, with what users install and nothing else: packages of the tests and
linters would weigh on its start and memory (entry points that are scanned, libraries that import optional ones).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import ROOT, BenchmarkError, Child
from replicator.devkit import Cluster
from replicator.devkit.runtime.distribution import cache_dir

IN_FLIGHT_BYTES = 64 << 20
"""The default of `in_flight_bytes`, and what our flows ask for."""
_VERIFIED_BYTES_PER_SECOND = 256 << 20
"""More than the default, so that what is opened twice shows in minutes."""

_RUNTIME = ROOT / ".venv-run"
_DEVELOPMENT = ROOT / ".venv"

_FLOW_FILE = """\
version: 1
daemon:
  state_dir: {state_dir}
  http: 127.0.0.1:{http}
  rpc: 127.0.0.1:{rpc}
clusters:
  source: {{bootstrap: "{source}"}}
  target: {{bootstrap: "{target}"}}
flows:
  {name}:
    from: source
    to: target
    topics:
      include: ["{topics}"]
      rename: {{prefix: "{prefix}"}}
    limits: {{in_flight_bytes: {in_flight_bytes}}}
    verify: {{continuous: {verified}, bytes_per_second: {verified_bytes_per_second}}}
"""


def ensure_runtime() -> Path:
    """Return the directory of the runtime-only environment, made or brought up to date first.

    Raises:
        BenchmarkError: There is no uv, or it failed.
    """
    stamp = _RUNTIME / ".synced"
    inputs = (ROOT / "pyproject.toml", ROOT / "uv.lock")
    if stamp.exists() and all(stamp.stat().st_mtime >= file.stat().st_mtime for file in inputs):
        return _RUNTIME
    uv = shutil.which("uv") or str(cache_dir() / "tools" / "bin" / "uv")  # the second is where the Makefile puts one
    if not Path(uv).is_file():
        raise BenchmarkError("there is no uv; next: `make setup`, or --dev-venv")
    command = [uv, "sync", "--frozen", "--no-dev", "--quiet", "--compile-bytecode"]
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(_RUNTIME)}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)}: {done.stderr.strip()[-600:]}")
    stamp.touch()
    return _RUNTIME


def development_environment() -> Path:
    """Return the directory of the environment that `make setup` made."""
    return _DEVELOPMENT


@dataclass(slots=True)
class Subject:
    """Starts the daemon, each time with a flow and target topics of its own.

    A mirror that existed and is gone is a fault to the daemon, so target names are never used twice.

    Attributes:
        environment: The virtual environment it runs from.
        directory: Where flow files, state and logs go.
        source: The cluster to copy from.
        target: The cluster to copy to.
    """

    environment: Path
    directory: Path
    source: Cluster
    target: Cluster
    _runs: int = 0

    def next_prefix(self) -> str:
        """Begin a new flow: return the prefix of its target topics."""
        self._runs += 1
        return f"run{self._runs}."

    def start(
        self,
        topics: str,
        prefix: str,
        profile: Path | None = None,
        source: str | None = None,
        *,
        verified: bool = False,
    ) -> Child:
        """Start the daemon, the first time of this flow or again.

        Args:
            topics: Which source topics, as a glob.
            prefix: What `next_prefix` returned.
            profile: Run under cProfile, and write this file at the end.
            source: Where the source is found; None for the cluster itself.
            verified: Verify beside the copy.
        """
        name = _flow_of(prefix)
        home = self.directory / name
        home.mkdir(parents=True, exist_ok=True)
        http, rpc = _free_ports(2)
        file = home / "flow.yaml"
        file.write_text(
            _FLOW_FILE.format(
                state_dir=home / "state",
                http=http,
                rpc=rpc,
                source=source or self.source.bootstrap,
                target=self.target.bootstrap,
                name=name,
                topics=topics,
                prefix=prefix,
                in_flight_bytes=IN_FLIGHT_BYTES,
                verified=str(verified).lower(),
                verified_bytes_per_second=_VERIFIED_BYTES_PER_SECOND,
            )
        )
        binaries = self.environment / "bin"
        command = [str(binaries / "replicator")]
        if profile is not None:
            command = [str(binaries / "python"), "-m", "cProfile", "-o", str(profile), "-m", "replicator.cli.main"]
        return Child([*command, "run", str(file)], home / "daemon.log")

    def verify(self, prefix: str, seconds_max: float) -> int:
        """Compare both sides of a flow that was started before; return the peak of resident memory, in bytes.

        Raises:
            BenchmarkError: They are not equal, or it takes longer.
        """
        home = self.directory / _flow_of(prefix)
        replicator = self.environment / "bin" / "replicator"
        command = [str(replicator), "verify", _flow_of(prefix), "-c", str(home / "flow.yaml")]
        # The peak of the largest of all children so far: so it is a child of one that has no other.
        told = "import resource,subprocess,sys; code = subprocess.call(sys.argv[1:]); "
        told += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
        run = [sys.executable, "-I", "-c", told, *command]
        try:
            done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=seconds_max)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"{' '.join(command)} takes more than {seconds_max:.0f} s") from error
        if done.returncode != 0:
            raise BenchmarkError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-600:]}")
        return int(done.stdout.split()[-1]) << 10


def _flow_of(prefix: str) -> str:
    return f"bench-{prefix.rstrip('.')}"


def http_of(child: Child) -> str:
    """Return where a daemon that was started here has its HTTP.

    Raises:
        BenchmarkError: Its flow file has no such address.
    """
    for line in (child.log.parent / "flow.yaml").read_text().splitlines():
        name, _, value = line.strip().partition(": ")
        if name == "http":
            return value
    raise BenchmarkError("the flow file names no http address")


def _free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(opened.getsockname()[1]) for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports
