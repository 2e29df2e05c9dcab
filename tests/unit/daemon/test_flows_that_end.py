"""A daemon in this process whose flows cannot run: what it shows of each, and that none takes another along."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from replicator.config.load import load
from replicator.core.health import unhealthy_because
from replicator.daemon.daemon import Daemon
from replicator.devkit import free_base_port
from replicator.engine.ending import why_ended
from replicator.engine.flow import FlowRunner
from replicator.errors import Conflict, ReplicatorError
from replicator.model.states import FlowState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from replicator.model.status import FlowStatus

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
        return next(one for one in self.daemon.snapshot().flows if one.flow == name)

    async def until_noticed(self, name: str) -> None:
        """Wait until the daemon knows that a flow has ended."""
        async with asyncio.timeout(_SECONDS):
            while name in self.daemon._tasks:  # noqa: ASYNC110 - only its log tells, too
                await asyncio.sleep(0.01)

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
        with contextlib.suppress(ReplicatorError, KeyError):
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
    assert running.daemon.snapshot().not_ready_because == f"calm is UNREACHABLE: {seen.reason}"
    assert {one.cluster: one.up for one in seen.clusters} == {"east": None, "west": False}
    assert seen.lag_records is None
    with pytest.raises(ReplicatorError, match="not up"):
        running.daemon.groups("calm")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bug", "a bug: KeyError: 'bug'; next: restart the daemon"),
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
    snapshot = running.daemon.snapshot()
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
    await running.until_noticed("other")
    first = running.daemon._runners["other"]
    await running.daemon._reload()
    assert running.daemon._runners["other"] is not first
    assert running.daemon._runners["calm"].ended_because is None


async def test_the_last_flow_that_ends_ends_the_daemon(running: Running) -> None:
    """With its error: whoever supervises the process has to know."""
    running.start("other", "bug")
    with pytest.raises((Fatal, KeyError)):
        async with asyncio.timeout(_SECONDS):
            await running.task


def test_of_several_errors_the_unexpected_one_is_told() -> None:
    """It explains the others more often than they explain it."""
    both = ExceptionGroup("both", [Conflict("someone else"), ExceptionGroup("inner", [KeyError("x")])])
    assert why_ended(both).startswith("a bug: KeyError: 'x'")
    assert why_ended(ExceptionGroup("one", [Conflict("someone else", next_step="wait")])) == "someone else; next: wait"
