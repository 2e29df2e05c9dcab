"""How `replicator run` ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_FLOWS = """
version: 1
clusters:
  east: {bootstrap: "127.0.0.1:1"}
  west: {bootstrap: "127.0.0.1:2"}
flows:
  f:
    from: east
    to: west
    topics: {include: ["*"]}
"""

_DONE = """
import asyncio, sys, time
from replicator import errors
from replicator.daemon import daemon

class Done:
    def __init__(self, spec):
        pass

    async def run(self):
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 300)
        if len(sys.argv) > 2:
            raise getattr(errors, sys.argv[2], KeyError)("the port is taken")

daemon.Daemon = Done
from replicator.cli.main import main
main(["run", sys.argv[1]])
"""
"""A daemon that has closed everything, while a thread of its still waits for a broker."""


def ended(directory: Path, *how: str) -> tuple[int, str]:
    """Return the exit code of such a daemon, and what it says."""
    file = directory / "flow.yaml"
    file.write_text(_FLOWS)
    command = [sys.executable, "-c", _DONE, str(file), *how]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    return done.returncode, done.stderr


def test_nobody_waits_for_a_thread_that_waits_for_a_broker(tmp_path: Path) -> None:
    """Whoever sent SIGTERM would kill the process before: a clean end would look like a crash."""
    assert ended(tmp_path) == (0, "")


def test_nor_where_the_daemon_ends_over_a_fault_of_its_own(tmp_path: Path) -> None:
    """It is told as any other, with its exit code; what nobody expected with its stack."""
    assert ended(tmp_path, "Conflict") == (4, "error: the port is taken\n")
    code, told = ended(tmp_path, "Unexpected")
    assert code == 1
    assert told.startswith("error: unexpected KeyError: 'the port is taken'")
    assert "Traceback" in told
