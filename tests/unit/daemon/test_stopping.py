"""A daemon ends within ten seconds of SIGTERM, and at once of the second one, whatever hangs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.aio.tasks import within
from replicator.core.work.claim import Timing
from replicator.daemon import daemon, signals, supervisor
from replicator.daemon.supervisor import FlowSupervisor
from replicator.devkit import free_base_port
from replicator.engine.work.claim import ClaimKeeper
from replicator.engine.work.presence import Presence
from replicator.engine.work.shards import Shard, Shards
from replicator.errors import ReplicatorError
from tests.lease_world import Topic, View

if TYPE_CHECKING:
    from collections.abc import Iterator

_RUN = "from replicator.cli.main import main; main(['run', sys.argv[1]])"
_ENDS_WITHIN_SECONDS = 10.0
_MACHINE_SECONDS = 60.0
"""How long a busy machine may take to start a process."""


class Frozen:
    """A cluster that accepts connections and never answers."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Stop."""
        self._listener.close()


class Process:
    """`replicator run` of flows between two frozen clusters."""

    def __init__(self, directory: Path) -> None:
        self.clusters = [Frozen(), Frozen()]
        self.file, self.log = directory / "flow.yaml", directory / "log"
        base = free_base_port(1)
        self._daemon = {"state_dir": "./state", "http": f"127.0.0.1:{base}", "rpc": f"127.0.0.1:{base + 1}"}
        self.write("one", "two")
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, "-c", f"import sys; {_RUN}", str(self.file)], stderr=log)

    def write(self, *flows: str) -> None:
        """Write a file with these flows."""
        east, west = (one.address for one in self.clusters)
        document = {
            "version": 1,
            "daemon": self._daemon,
            "clusters": {"east": {"bootstrap": east}, "west": {"bootstrap": west}},
            "flows": {name: {"from": "east", "to": "west", "topics": {"include": [f"{name}.*"]}} for name in flows},
        }
        self.file.write_text(json.dumps(document))
        self.file.chmod(0o600)

    def until_logged(self, text: str) -> None:
        """Wait for a line of its log."""
        deadline = time.monotonic() + _MACHINE_SECONDS
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def ends(self, within_seconds: float) -> int:
        """Return how it ended; it has to within this time."""
        try:
            return self.process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.log.read_text()) from None

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for one in self.clusters:
            one.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """A daemon at work."""
    made = Process(tmp_path)
    yield made
    made.close()


def test_clusters_that_never_answer_do_not_hold_a_daemon(process: Process) -> None:
    """While it starts, and while it reads a new file: it drains, and ends as one that was asked to."""
    process.until_logged("flow cannot start yet")
    process.write("one", "three")
    process.process.send_signal(signal.SIGHUP)
    process.process.send_signal(signal.SIGTERM)
    assert process.ends(_ENDS_WITHIN_SECONDS) == 0
    log = process.log.read_text()
    assert "KeyError" not in log
    assert '"event": "stopped"' in log


def test_a_reload_that_is_asked_for_before_the_daemon_is_up_is_done_then(process: Process) -> None:
    """It ended the process, as SIGHUP does where nobody handles it."""
    status = Path(f"/proc/{process.process.pid}/status")
    deadline = time.monotonic() + _MACHINE_SECONDS
    while not _blocked(status.read_text()) & 1 << signal.SIGHUP - 1:
        assert time.monotonic() < deadline, "it never waits with reloads"
        time.sleep(0.001)
    process.process.send_signal(signal.SIGHUP)
    process.until_logged("configuration reloaded")
    process.process.send_signal(signal.SIGTERM)
    assert process.ends(_ENDS_WITHIN_SECONDS) == 0


def _blocked(status: str) -> int:
    return int(status.split("SigBlk:")[1].split(maxsplit=1)[0], 16)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """As a shell expects of a program that SIGTERM ended, while the loop itself is held up."""
    script = tmp_path / "held_up.py"
    script.write_text(
        "import asyncio, sys, time\n"
        "from replicator.daemon import signals\n"
        "async def main():\n"
        "    with signals.EndingSignals(asyncio.get_running_loop(), lambda: None):\n"
        "        print('ready', flush=True)\n"
        "        for _ in range(1200): time.sleep(0.05)\n"
        "if len(sys.argv) > 1:\n"
        "    signals._end_at_last.__defaults__ = (float(sys.argv[1]),)\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}  # noqa: PTH109 - as it is given to a process
    for arguments, signals_sent, code in ((["0.5"], 1, 128 + signal.SIGTERM), ([], 2, -signal.SIGTERM)):
        held_up = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdout=subprocess.PIPE,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        assert held_up.stdout is not None
        assert held_up.stdout.readline() == b"ready\n"
        for _ in range(signals_sent):
            held_up.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        assert held_up.wait(_ENDS_WITHIN_SECONDS) == code
        held_up.stdout.close()


class Hanging(View):
    """A state topic on a target that has frozen: nothing that is asked of it ends."""

    hangs = False

    async def append(self, *_: Any) -> None:
        """Take them, or never answer."""
        if self.hangs:
            await asyncio.Event().wait()

    async def change(self, *_: Any) -> dict[bytes, bytes]:
        """Never answer."""
        await asyncio.Event().wait()
        return {}


class Leases:
    """A coordinator that has frozen as well."""

    async def hand_off(self) -> bool:
        """Never answer."""
        await asyncio.Event().wait()
        return True

    async def leave(self) -> None:
        """Never answer."""
        await asyncio.Event().wait()


async def test_shards_end_in_time_on_a_target_that_has_frozen() -> None:
    """Hand-off, drain, claim, sign of life, lease: each of them took its own time-outs, 106 s together.

    And a sign of life that could not be taken back is not given any more: others would wait for ever.
    """
    log, now = Hanging(Topic()), asyncio.get_running_loop().time
    timing = Timing(10.0, 3.0)
    presence = Presence(cast("Any", log), "uid", "me", "here", 2, timing, 1.0, now=now)
    claims = [ClaimKeeper(cast("Any", log), "uid", number, "me", timing, 0.0, now=now) for number in range(2)]
    made = [Shard(number, claim) for number, claim in enumerate(claims)]

    async def drain(shard: Shard) -> bool:
        if shard.number:
            await asyncio.Event().wait()
        return True

    async def caught_up() -> None:
        return None

    shards = Shards(
        "f", "me", made, presence, stops_on_loss=False, catch_up=caught_up, drain=drain, on_change=lambda: None
    )
    shards._leases = cast("Any", Leases())
    for shard in made:
        await presence.announce(shard.number, 1)
        shard.claim.first_claim(now())
        shard.works = True
    log.hangs = True
    began = now()
    assert not await shards.end(2.0)
    assert now() - began < 3.0
    assert not any(shard.works or shard.stopping for shard in made)
    assert presence._mine == {}


class Runner:
    """A flow whose ending hangs, and does not even heed being cancelled."""

    ended_because: str | None = None

    def __init__(self) -> None:
        self.closed = 0
        self.let_go = False

    async def run(self) -> None:
        """Run until cancelled, and longer."""
        await self._hang()

    async def stop(self, _: float) -> bool:
        """Never end."""
        await self._hang()
        return True

    async def close(self) -> None:
        """Never end."""
        self.closed += 1
        await self._hang()

    async def _hang(self) -> None:
        while not self.let_go:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self.let_go:
                    raise


async def test_a_flow_that_hangs_is_left_alone_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops it twice, as a reload and a signal do, waits for one and the same end."""
    for name, seconds in (("_STOP_SECONDS", 0.3), ("_CANCEL_SECONDS", 0.1), ("_CLOSE_SECONDS", 0.1)):
        monkeypatch.setattr(supervisor, name, seconds)
    runner = Runner()
    flow = FlowSupervisor("f", lambda _: cast("Any", runner))
    flow.start()
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(flow.stop(), flow.stop())
    assert loop.time() - began < 2.0
    assert runner.closed == 1
    runner.let_go = True
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_the_bounds_on_the_way_down_leave_time_before_the_kill() -> None:
    """All that is done one after the other, together: flows, servers, coordinator, connections."""
    flows = supervisor._STOP_SECONDS + supervisor._CANCEL_SECONDS + supervisor._CLOSE_SECONDS
    servers = 3 * daemon._SERVERS_SECONDS
    assert flows + servers < signals._LAST_SECONDS
    assert signals._LAST_SECONDS < _ENDS_WITHIN_SECONDS


async def test_what_fails_on_the_way_down_is_told_and_ends_nothing_else() -> None:
    """A bug, and what is expected."""

    async def fails(error: Exception) -> bool:
        raise error

    assert await within(1.0, fails(KeyError("x")), "it") is None
    assert await within(1.0, fails(ReplicatorError("y")), "it") is None
