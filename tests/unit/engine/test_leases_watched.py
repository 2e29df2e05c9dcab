"""What a daemon that watches its leases asks of a coordinator: never more than its pauses allow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.work.claim import Timing
from replicator.engine.work.coordinator import Coordinator
from replicator.engine.work.leases import LeaseKeeper
from replicator.model.lease import LeaseCaller
from replicator.store.memory_leases import MemoryLeases
from tests.copy_world.loop import VirtualLoop
from tests.lease_wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from replicator.model.lease import LeaseAnswer, LeaseTable

TIMING = Timing(ttl_seconds=10.0, margin_seconds=3.0)
ME = LeaseCaller("uid", "flow", "me", "", 1)


class Port(Wire):
    """Asks one of two coordinators on one store, and watches the other; counts its calls."""

    def __init__(self, asked: Coordinator, watched: Coordinator) -> None:
        super().__init__(asked)
        self.watched = watched
        self.calls = 0

    async def renew(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort.renew`."""
        self.calls += 1
        return await super().renew(caller)

    async def acquire(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort.acquire`."""
        self.calls += 1
        return await super().acquire(caller)

    async def watch(self, flow_uid: str) -> AsyncIterator[LeaseTable]:
        """See `LeasePort.watch`."""
        async for table in self.watched.watch(flow_uid):
            yield table


def test_coordinators_that_disagree_about_who_is_dead_are_not_asked_without_a_pause() -> None:
    """What is watched differs from each answer then, and each answer changes what is watched."""
    loop = VirtualLoop(0.0)  # type: ignore[abstract] # what is not there nobody asks for
    store = MemoryLeases()
    old = Coordinator(store, TIMING.ttl_seconds, loop.time)
    port = Port(Coordinator(store, TIMING.ttl_seconds, loop.time), old)
    keeper = LeaseKeeper(port, ME, TIMING, dict, tuple, lambda: None, now=loop.time)
    with loop.entered():
        other = replace(ME, instance="other")
        held = loop.create_task(old.acquire(other))
        loop.run_ready()
        assert held.result().table.leases[0].holder == "other"
        work = loop.create_task(keeper.run())
        loop.run_ready()
        loop.jump(TIMING.ttl_seconds + 1)  # the one that is watched has heard nothing of `other` for too long
        port.coordinator = Coordinator(store, TIMING.ttl_seconds, loop.time)  # this one has just started
        port.calls = 0

        for _ in range(40):
            loop.jump(0.1)
            loop.fire()
        calls = port.calls
        work.cancel()
        loop.run_ready()

    assert 2 <= calls <= 12
    assert keeper.table is not None
