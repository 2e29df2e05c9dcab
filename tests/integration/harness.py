"""What tests of whole daemons share: flow files, and daemons as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from replicator.devkit import free_base_port
from tests.integration.kafka_client import Kafka, wait_until

REPLICATOR = Path(sys.executable).with_name("replicator")
_LOG_TAIL_BYTES = 12_000

CLIENTS = {"request_timeout": "3s", "doubt_margin": "1s"}
"""Short: after a kill, unguarded work has to wait for their sum."""


class Daemon:
    """One `replicator run` as a process, with its flow file, state directory and log.

    Attributes:
        file: The flow file.
        log_file: What it printed, over all its starts.
    """

    def __init__(self, directory: Path, document: dict[str, Any], command: str = "run") -> None:
        directory.mkdir(parents=True)
        self._command = command
        self.directory = directory
        self.document = document
        self.file = directory / "flow.yaml"
        self.log_file = directory / "daemon.log"
        base = free_base_port(1)
        self._http, self.rpc = f"127.0.0.1:{base}", f"127.0.0.1:{base + 1}"
        self._process: subprocess.Popen[bytes] | None = None
        document["daemon"] = {"state_dir": "./state", "http": self._http, "rpc": self.rpc}
        self.write()

    @property
    def state_dir(self) -> Path:
        """Its state directory."""
        return self.directory / "state"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; it was started."""
        assert self._process is not None, "the daemon was not started"
        return self._process

    def write(self) -> None:
        """Write the flow file from `document` (JSON is YAML)."""
        self.file.write_text(json.dumps(self.document, indent=1))
        self.file.chmod(0o600)

    def start(self, *, ready_seconds: float = 120.0) -> Self:
        """Start it; with `ready_seconds` wait until every topic was looked at once, 0 waits for nothing."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [str(REPLICATOR), self._command, str(self.file)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        if ready_seconds:
            wait_until("the daemon is ready", self._is_ready, ready_seconds)
        return self

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.log_tail()}"
        if self._command == "coordinator":
            return self.cli("lease", "list").returncode == 0
        return bool(self.status()["ready"])

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def stop(self, seconds: float = 60.0) -> int:
        """End it by SIGTERM; return its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def freeze(self) -> None:
        """Send SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def reload(self) -> None:
        """Send SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    def log_tail(self) -> str:
        """Return the end of its log."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    # -- asking -----------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return /status."""
        return dict(json.loads(self._get("/status")))

    @property
    def flow_name(self) -> str:
        """Name of its first flow."""
        return str(next(iter(self.document["flows"])))

    def flow(self) -> dict[str, Any]:
        """Return the status of its first flow."""
        return next(flow for flow in self.status()["flows"] if flow["flow"] == self.flow_name)

    def mirror(self, topic: str) -> dict[str, Any]:
        """Return one mirror's status, empty while there is none."""
        return next((mirror for mirror in self.flow()["mirrors"] if mirror["topic"] == topic), {})

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        lines = [line for line in self._get("/metrics").splitlines() if not line.startswith("#")]
        values = [line.rsplit(" ", 1)[1] for line in lines if line.split("{")[0].split(" ")[0] == name]
        assert values, f"no metric {name}"
        return sum(float(value) for value in values)

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self._http}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def wait_state(self, topic: str, state: str, reason: str | None = None, seconds: float = 120.0) -> dict[str, Any]:
        """Wait until a mirror is in a state, for a reason if given; return the mirror."""
        seen: dict[str, Any] = {}

        def there() -> dict[str, Any] | None:
            assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}"
            seen.clear()
            seen.update(self.mirror(topic))
            return dict(seen) if seen.get("state") == state and reason in {None, seen.get("reason")} else None

        try:
            return wait_until(f"{topic} is {state} {reason or ''}", there, seconds) or {}
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen}") from None

    def cli(self, *args: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line against this daemon."""
        return subprocess.run(
            [str(REPLICATOR), *args, "--address", self.rpc],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )


class Lab:
    """Makes daemons for one test, and ends them after it, with their logs shown where the test failed.

    Attributes:
        flow: Name of the test's flow: a flow of another test on the same clusters is none of its business.
    """

    def __init__(self, directory: Path) -> None:
        self.flow = f"copy-{uuid.uuid4().hex[:8]}"
        self._directory = directory
        self.daemons: list[Daemon] = []

    def daemon(
        self,
        source: Kafka | Mapping[str, Any],
        target: Kafka | Mapping[str, Any],
        *include: str,
        clients: Mapping[str, str] | None = None,
        **flow: Any,
    ) -> Daemon:
        """Make a daemon of one flow; it is not started.

        Args:
            source: A cluster, or its section of the flow file.
            target: A cluster, or its section of the flow file.
            include: Topic patterns.
            clients: The `client` section of the target.
            flow: More keys of the flow.
        """
        document = {
            "version": 1,
            # Short, so that a killed holder's claim is soon free.
            "coordinator": {"lease_ttl": "3s", "lease_margin": "1s"},
            "clusters": {
                "east": _section(source),
                "west": {"client": dict(clients or CLIENTS)} | _section(target),
            },
            "flows": {self.flow: {"from": "east", "to": "west", "topics": {"include": list(include)}, **flow}},
        }
        made = Daemon(self._directory / f"daemon-{len(self.daemons) + 1}", document)
        self.daemons.append(made)
        return made

    def coordinator(self, daemon: Daemon) -> Daemon:
        """Make a coordinator for daemons like this one; it is not started."""
        document = json.loads(json.dumps(daemon.document))
        made = Daemon(self._directory / f"coordinator-{len(self.daemons) + 1}", document, "coordinator")
        self.daemons.append(made)
        return made

    def close(self) -> None:
        """Kill what runs; print the logs (pytest shows them where a test failed)."""
        for daemon in self.daemons:
            daemon.kill()
            print(f"--- {daemon.log_file}\n{daemon.log_tail()}")  # noqa: T201 - captured by pytest


def _section(cluster: Kafka | Mapping[str, Any]) -> dict[str, Any]:
    return dict(cluster) if isinstance(cluster, Mapping) else {"bootstrap": cluster.bootstrap}
