"""A daemon in this process whose flows cannot run: what it shows of each, and that none takes another along."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from replicator.aio.tasks import lasting, watched
from replicator.config.load import load
from replicator.core.status.health import unhealthy_because
from replicator.daemon import supervisor
from replicator.daemon.daemon import Daemon
from replicator.devkit import free_base_port
from replicator.engine.flow.ending import why_ended
from replicator.engine.flow.runner import FlowRunner
from replicator.errors import BugError, Conflict, ReplicatorError
from replicator.model.status.states import FlowState
from replicator.obs import bugs
from replicator.obs.logs import flow_of, in_flow
from tests.at_once import at_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from replicator.model.status.snapshots import FlowStatus

_NOBODY_LISTENS = {"east": "127.0.0.1:2", "west": "127.0.0.1:1"}
_SECONDS = 20.0


class Running:
    """A daemon, its flow file and its task."""

    def __init__(self, directory: Path) -> None:
        base = free_base_port(1)
        self.file = directory / "flow.yaml"
        self.document: dict[str, Any] = {
            "version": 1,
            "daemon": {"state_dir": "./state", "http": f"127.0.0.1:{base}", "rpc": f"127.0.0.1:{base + 1}"},
            "clusters": {name: {"bootstrap": address} for name, address in _NOBODY_LISTENS.items()},
            "flows": {},
        }

    def flows(self, *names: str) -> None:
        """Write a flow file with these flows."""
        self.document["flows"] = {
            name: {"from": "east", "to": "west", "topics": {"include": [f"{name}.*"]}} for name in names
        }
        self.file.write_text(json.dumps(self.document))
        self.file.chmod(0o600)

    def start(self, *names: str) -> None:
        """Run a daemon of these flows."""
        self.flows(*names)
        self.daemon = Daemon(load(self.file, {}))
        self.task = asyncio.create_task(self.daemon.run())

    def flow(self, name: str) -> FlowStatus:
        """Return what the daemon shows of a flow."""
        return next(one for one in at_once(self.daemon.control.snapshot()).flows if one.flow == name)

    async def until(self, name: str, state: FlowState) -> FlowStatus:
        """Wait until a flow shows a state."""
        async with asyncio.timeout(_SECONDS):
            while self.flow(name).state is not state:
                assert not self.task.done(), self.task
                await asyncio.sleep(0.01)
        return self.flow(name)

    async def stop(self) -> None:
        """End it as a signal would."""
        self.daemon._stopping.set()
        await self.task


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A daemon in which flows with certain names end by themselves, as soon as they begin."""
    really: Callable[[FlowRunner], Any] = FlowRunner._open_target

    async def open_target(runner: FlowRunner) -> None:
        if runner.flow.name.startswith("bug"):
            raise KeyError(runner.flow.name)
        if runner.flow.name.startswith("other"):
            await asyncio.sleep(0)
            raise Fatal("this is another cluster", why="its id differs", next_step="correct its bootstrap")
        await really(runner)

    monkeypatch.setattr(FlowRunner, "_open_target", open_target)
    made = Running(tmp_path)
    yield made
    await made.stop()


class Fatal(ReplicatorError):
    """Something only an operator can mend."""


async def test_a_flow_that_cannot_start_is_neither_active_nor_healthy_nor_ready(running: Running) -> None:
    """Its target was never reached: that is the reason in all three places."""
    running.start("calm")
    seen = await running.until("calm", FlowState.UNREACHABLE)
    assert seen.reason is not None
    assert "west does not answer: cluster 'west' cannot be reached at 127.0.0.1:1: Connection refused" in seen.reason
    assert "next: check clusters.west.bootstrap" in seen.reason
    assert unhealthy_because(seen, None) == f"the flow is UNREACHABLE: {seen.reason}"
    assert (await running.daemon.control.snapshot()).not_ready_because == f"calm is UNREACHABLE: {seen.reason}"
    assert {one.cluster: one.up for one in seen.clusters} == {"east": None, "west": False}
    assert seen.lag_records is None
    with pytest.raises(ReplicatorError, match="not up"):
        running.daemon.control.groups("calm")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bug", "internal_error: KeyError: 'bug'; next: report it with the daemon's log"),
        ("other", "this is another cluster: its id differs; next: correct its bootstrap"),
    ],
)
async def test_a_flow_that_ends_is_shown_as_what_it_is_and_ends_alone(running: Running, name: str, reason: str) -> None:
    """The other one goes on, and so does the daemon."""
    running.start("calm", name)
    seen = await running.until(name, FlowState.FAULTED)
    assert seen.reason is not None
    assert seen.reason.startswith(reason)
    assert unhealthy_because(seen, None) == f"the flow is FAULTED: {seen.reason}"
    assert {one.up for one in seen.clusters} == {None}
    await running.until("calm", FlowState.UNREACHABLE)
    snapshot = await running.daemon.control.snapshot()
    assert not snapshot.ready
    assert f"{name} is FAULTED: {reason}" in (snapshot.not_ready_because or "")
    assert not running.task.done()


async def test_a_flow_that_a_reload_began_is_noticed_when_it_ends(running: Running) -> None:
    """As any other; and it is begun again with the next reload, since what stopped it may be mended."""
    running.start("calm")
    await running.until("calm", FlowState.UNREACHABLE)
    running.flows("calm", "other")
    await running.daemon._reload()
    await running.until("other", FlowState.FAULTED)
    first = running.daemon.flows.supervisors["other"]
    await running.daemon._reload()
    assert running.daemon.flows.supervisors["other"] is not first
    assert running.daemon.flows.supervisors["calm"].runner.ended_because is None


async def test_a_flow_that_ended_is_begun_again_after_a_pause(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, and counted; the daemon of that flow alone goes on, since it may be mended meanwhile."""
    monkeypatch.setattr(supervisor, "_PAUSE_SECONDS", (0.01, 0.02))
    before, begun = bugs.count("bug"), bugs.restarts("bug")
    running.start("bug")
    async with asyncio.timeout(_SECONDS):
        while bugs.restarts("bug") < begun + 3:  # noqa: ASYNC110 - only the count tells
            await asyncio.sleep(0.01)
    assert not running.task.done()
    assert bugs.count("bug") >= before + 3
    seen = await running.until("bug", FlowState.FAULTED)
    assert (seen.reason or "").startswith("internal_error: KeyError: 'bug'")


async def test_an_error_in_a_callback_ends_the_flow_that_it_belongs_to(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was printed, and whatever the callback worked for stood still: the flow begins again, the other goes on."""
    monkeypatch.setattr(supervisor, "_PAUSE_SECONDS", (0.01, 0.02))
    running.start("calm", "quiet")
    await running.until("calm", FlowState.UNREACHABLE)
    await running.until("quiet", FlowState.UNREACHABLE)
    first, other = running.daemon.flows.supervisors["calm"].runner, running.daemon.flows.supervisors["quiet"].runner

    def broken() -> None:
        raise IndexError("a callback")

    in_flow("calm").run(asyncio.get_running_loop().call_soon, broken)
    async with asyncio.timeout(_SECONDS):
        while running.daemon.flows.supervisors["calm"].runner is first:  # noqa: ASYNC110 - only the runner tells
            await asyncio.sleep(0.01)
    assert first.ended_because == "internal_error: IndexError: a callback; next: report it with the daemon's log"
    assert running.daemon.flows.supervisors["quiet"].runner is other
    assert bugs.count("calm") >= 1


async def test_an_error_of_no_flow_is_counted_and_ends_nothing(running: Running) -> None:
    """Of an HTTP connection, for instance; the same where somebody has dealt with it and only reports it."""
    running.start("calm")
    await running.until("calm", FlowState.UNREACHABLE)
    runner, before = running.daemon.flows.supervisors["calm"].runner, bugs.count("")
    loop = asyncio.get_running_loop()

    def broken() -> None:
        raise IndexError("a callback")

    loop.call_soon(broken)
    told = {"message": "an answer met an error", "exception": KeyError("x")}
    in_flow("calm").run(loop.call_exception_handler, told)
    await asyncio.sleep(0.05)
    assert bugs.count("") == before + 1
    assert running.daemon.flows.supervisors["calm"].runner is runner
    assert runner.ended_because is None


async def test_a_part_of_a_flow_that_is_cancelled_from_within_ends_it() -> None:
    """A task group takes no notice of a member that was cancelled: the flow would go on without it."""

    async def part() -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def whole() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(lasting(part))
            await asyncio.sleep(_SECONDS)

    with pytest.raises(ExceptionGroup) as caught:
        await whole()
    assert isinstance(caught.value.exceptions[0], BugError)


async def test_a_stray_task_reports_what_it_met_at_once() -> None:
    """Not whenever it is collected as garbage, and with the flow of whoever began it."""
    loop, told = asyncio.get_running_loop(), list[dict[str, Any]]()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))

    async def stray() -> None:
        raise KeyError("x")

    kept = in_flow("calm").run(lambda: watched(loop.create_task(stray())))
    await asyncio.wait({kept})
    await asyncio.sleep(0)
    loop.set_exception_handler(before)
    (one,) = told
    assert isinstance(one["exception"], KeyError)
    assert flow_of(one["handle"]._context) == "calm"


async def test_a_reload_and_a_signal_at_the_same_time_both_end(running: Running) -> None:
    """Both end the same flow: the second one met a KeyError, and nothing was drained."""
    running.start("calm", "other")
    await running.until("calm", FlowState.UNREACHABLE)
    running.flows("quiet")
    reload = asyncio.create_task(running.daemon._reload())
    await asyncio.sleep(0)
    await running.stop()
    await reload
    assert running.daemon.flows.supervisors == {}


def test_of_several_errors_the_unexpected_one_is_told() -> None:
    """It explains the others more often than they explain it."""
    both = ExceptionGroup("both", [Conflict("someone else"), ExceptionGroup("inner", [KeyError("x")])])
    assert why_ended(both).startswith("internal_error: KeyError: 'x'")
    assert why_ended(ExceptionGroup("one", [Conflict("someone else", next_step="wait")])) == "someone else; next: wait"


async def test_a_key_that_needs_a_restart_stays_as_it_is_until_then(running: Running) -> None:
    """A reload said so, and took it all the same: flows of another site began beside those that ran."""
    running.start("calm")
    await running.until("calm", FlowState.UNREACHABLE)
    running.document["daemon"]["site"] = "east"
    running.document["coordinator"] = {"lease_ttl": "20s"}
    running.flows("calm", "second")
    await running.daemon._reload()
    await running.until("second", FlowState.UNREACHABLE)

    spec = running.daemon.flows.spec
    assert (spec.daemon.site, spec.coordinator.lease_ttl_seconds) == (None, 10.0)
    assert not running.flow("calm").remote


async def test_a_daemon_that_cannot_be_begun_begins_no_flow(running: Running) -> None:
    """Its flows went on while their store and the lock of the state directory were never closed."""
    taken = socket.create_server(("127.0.0.1", 0))
    running.document["daemon"]["rpc"] = f"127.0.0.1:{taken.getsockname()[1]}"
    running.flows("calm")
    daemon = Daemon(load(running.file, {}))
    with taken, pytest.raises(ReplicatorError):
        await daemon.run()

    assert daemon.flows.supervisors == {}
    running.document["daemon"]["rpc"] = f"127.0.0.1:{free_base_port(1)}"
    running.start("calm")
    await running.until("calm", FlowState.UNREACHABLE)
