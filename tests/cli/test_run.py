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
from replicator.daemon import daemon

class Done:
    def __init__(self, spec):
        pass

    async def run(self):
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 300)

daemon.Daemon = Done
from replicator.cli.main import main
main(["run", sys.argv[1]])
"""
"""A daemon that has closed everything, while a thread of its still waits for a broker."""


def test_nobody_waits_for_a_thread_that_waits_for_a_broker(tmp_path: Path) -> None:
    """Whoever sent SIGTERM would kill the process before: a clean end would look like a crash."""
    file = tmp_path / "flow.yaml"
    file.write_text(_FLOWS)
    ended = subprocess.run(
        [sys.executable, "-c", _DONE, str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
