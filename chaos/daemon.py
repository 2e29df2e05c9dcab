"""One `replicator run` of a run: its flow file, its process, and what it says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from chaos.disks import SmallDisk, empty
from chaos.faults import HOLD_SECONDS_MAX, LEASE_TTL_SECONDS
from chaos.processes import Child
from replicator.devkit import free_base_port

FLOW = "chaos"

_REPLICATOR = Path(sys.executable).with_name("replicator")
_ASK_SECONDS_MAX = 5.0
_RESTART_SECONDS = 1.0
_CLI_SECONDS_MAX = 30.0


class Daemon:
    """One daemon.

    Attributes:
        name: Its name in messages.
        child: Its process.
        disk: Its state directory, where that is a disk of its own.
    """

    def __init__(self, number: int, directory: Path, source: str, target: str) -> None:
        directory.mkdir(parents=True)
        self.name = f"daemon-{number + 1}"
        self.disk: SmallDisk | None = None
        self._state_dir = directory / "state"
        self._wanted = False
        self._restart_at: float | None = None
        self._lock = threading.RLock()
        """Faults come from other threads than the one that looks after the daemons."""
        base = free_base_port(1)
        self._http, self._rpc = f"127.0.0.1:{base}", f"127.0.0.1:{base + 1}"
        file = directory / "flow.yaml"
        file.touch(mode=0o600)
        file.write_text(json.dumps(self._document(source, target), indent=1))  # JSON is YAML
        self.child = Child(self.name, [str(_REPLICATOR), "run", str(file)], directory / "daemon.log")

    def _document(self, source: str, target: str) -> dict[str, Any]:
        return {
            "version": 1,
            "daemon": {"state_dir": "./state", "http": self._http, "rpc": self._rpc},
            "coordinator": {"lease_ttl": f"{LEASE_TTL_SECONDS:.0f}s", "lease_margin": "1s"},
            "clusters": {
                "source": {"bootstrap": source},
                "target": {
                    "bootstrap": target,
                    "client": {"request_timeout": "3s", "doubt_margin": f"{HOLD_SECONDS_MAX + 2:.0f}s"},
                },
            },
            "flows": {
                FLOW: {
                    "from": "source",
                    "to": "target",
                    "topics": {"include": [{"prefix": "chaos."}]},
                    "replication_factor": 3,
                }
            },
        }

    def give_disk(self) -> None:
        """Put its state directory on a disk of its own.

        Raises:
            ChaosError: It could not be mounted.
        """
        self.disk = SmallDisk(self._state_dir)
        self.disk.mount()

    def start(self) -> None:
        """Start it."""
        with self._lock:
            self.child.start()
            self._wanted = True

    def kill(self) -> None:
        """End it by SIGKILL."""
        with self._lock:
            self._wanted, self._restart_at = False, None
            self.child.kill()

    def stop(self) -> int:
        """End it by SIGTERM; return its exit status, 0 also where it had ended by itself."""
        with self._lock:
            self._wanted, self._restart_at = False, None
            return self.child.stop()

    def supervise(self) -> str:
        """Look after it, as a service manager would: one that ended by itself is started again a moment later.

        Returns:
            What happened, where it has ended since the last call.
        """
        if not self._lock.acquire(blocking=False):  # it is being ended or started now
            return ""
        try:
            self.child.sample()
            if not self._wanted or self.child.alive:
                return ""
            if self._restart_at is None:
                self._restart_at = time.monotonic() + _RESTART_SECONDS
                return f"{self.name} ended by itself with {self.child.reap()}, see {self.child.log}"
            if time.monotonic() >= self._restart_at:
                self._restart_at = None
                self.child.start()
            return ""
        finally:
            self._lock.release()

    def wipe(self) -> None:
        """Empty its state directory."""
        empty(self._state_dir)

    def status(self) -> dict[str, Any]:
        """Return /status.

        Raises:
            OSError: It does not answer.
        """
        with urllib.request.urlopen(f"http://{self._http}/status", timeout=_ASK_SECONDS_MAX) as answer:
            return dict(json.loads(answer.read()))

    def is_ready(self) -> bool:
        """Whether it has looked at every topic since its start.

        Raises:
            OSError: It does not answer.
        """
        return bool(self.status()["ready"])

    def stopped(self) -> list[str]:
        """Return the partitions that stand still for a reason, one text each, and the whole flow if it does.

        Raises:
            OSError: It does not answer.
        """
        found = []
        for flow in self.status()["flows"]:
            if flow["state"] != "ACTIVE":
                found.append(f"{self.name}: flow {flow['state']}: {flow['reason']}")
            for mirror in flow["mirrors"]:
                for part in (mirror, *mirror["partitions"]):
                    if part["state"] == "FAULTED":
                        place = f"{mirror['topic']}[{part.get('partition', '*')}]"
                        found.append(f"{self.name}: {place} {part['reason']}: {part['detail']}")
        return found

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line against it."""
        return subprocess.run(
            [str(_REPLICATOR), *words, "--address", self._rpc],
            capture_output=True,
            text=True,
            check=False,
            timeout=_CLI_SECONDS_MAX,
        )
