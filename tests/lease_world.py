"""A world of daemons, coordinators and one state topic, with clocks set by hand, for tests of leases.

The daemons' own classes run in it (`LeaseKeeper`, `Shards`, `ClaimKeeper`, `Presence`, `Coordinator`).
What is modelled is the network, the store's copies, the state topic and time. Nothing waits: a coroutine that would is
a mistake of the test.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from replicator.core.work.claim import Timing
from replicator.engine.state.topic.log import StateLog
from replicator.engine.work import claim as claim_keeper
from replicator.engine.work import coordinator, shards
from replicator.engine.work import leases as lease_keeper
from replicator.engine.work.claim import ClaimKeeper
from replicator.engine.work.coordinator import Coordinator
from replicator.engine.work.leases import LeaseKeeper
from replicator.engine.work.presence import Presence
from replicator.engine.work.shards import Shard, Shards
from replicator.errors import DaemonUnreachable, ReplicatorError, TimedOut
from replicator.model.lease import LeaseCaller
from replicator.store.memory_leases import MemoryLeases
from tests.lease_wire import Wire

UID = "f1"
TTL, MARGIN, DOUBT = 10.0, 3.0, 30.0
TIMING = Timing(TTL, MARGIN)
R = TypeVar("R")


def _nothing(*_: object, **__: object) -> None:
    """Take a line of the log: thousands of histories would write millions."""


for module in (claim_keeper, coordinator, lease_keeper, shards):
    module.log = SimpleNamespace(info=_nothing, warning=_nothing, debug=_nothing)  # type: ignore[attr-defined]


def run(work: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that must not wait for anything."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast("R", done.value)
    work.close()
    raise AssertionError("it waits")


@dataclass
class Topic:
    """The state topic: an append-only log; every reader has its own place in it."""

    log: list[tuple[bytes, bytes | None]] = field(default_factory=list)


class View:
    """One daemon's view of the topic, as a `StateLog`: it hears of records when they are delivered, or asked for."""

    def __init__(self, topic: Topic) -> None:
        self.records: dict[bytes, bytes] = {}
        self.position = 0
        self.cut_off = self.hangs = False
        self._topic = topic
        self._listeners: list[Callable[[bytes], None]] = []

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """See `StateLog.listen`."""
        self._listeners.append(listener)

    def deliver(self) -> None:
        """Hear of everything there is."""
        while self.position < len(self._topic.log):
            key, value = self._topic.log[self.position]
            self.position += 1
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
            for listener in self._listeners:
                listener(key)

    async def read_to_end(self, seconds: float = 60.0) -> None:
        """See `StateLog.read_to_end`."""
        self._reach()
        if self.hangs:
            raise TimedOut(f"the end was not reached within {seconds} s")
        self.deliver()

    async def append(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """See `StateLog.append`."""
        self._reach()
        self._topic.log.extend(changes)

    async def change(
        self, uid: str, decide: Callable[[Mapping[bytes, bytes]], list[tuple[bytes, bytes | None]]]
    ) -> Mapping[bytes, bytes]:
        """See `StateLog.change`."""
        del uid
        await self.read_to_end()
        self._topic.log.extend(decide(self.records))
        await self.read_to_end()
        return self.records

    def _reach(self) -> None:
        if self.cut_off:
            raise DaemonUnreachable("the target is out of reach")


@dataclass
class Clock:
    """A machine's monotonic clock: it starts anywhere, and runs fast or slow."""

    world: World
    rate: float = 1.0
    start: float = 0.0

    def __call__(self) -> float:
        """Return its time."""
        return self.start + self.world.time * self.rate


class Daemon:
    """One daemon of the flow."""

    def __init__(self, world: World, name: str, clock: Clock, wire: Wire, *, stops_on_loss: bool = False) -> None:
        self.name = name
        self.clock = clock
        self.wire = wire
        self.view = View(world.topic)
        self.frozen = False
        self.began: list[tuple[int, int]] = []
        self.world = world
        log = cast("StateLog", self.view)
        presence = Presence(log, UID, name, f"{name}:7443", world.shards, TIMING, TTL + 5 + DOUBT, now=clock)
        claims = [ClaimKeeper(log, UID, shard, name, TIMING, DOUBT, now=clock) for shard in range(world.shards)]
        self.view.deliver()
        self.shards = Shards(
            "flow",
            name,
            [Shard(number, claim) for number, claim in enumerate(claims)],
            presence,
            stops_on_loss=stops_on_loss,
            catch_up=self.view.read_to_end,
            drain=self._drain,
            on_change=lambda: None,
        )
        caller = LeaseCaller(UID, "flow", name, f"{name}:7443", world.shards)
        self.leases = LeaseKeeper(wire, caller, TIMING, self.shards.floors, self.shards.busy, lambda: None, now=clock)
        self.presence = presence

    async def _drain(self, shard: Shard) -> bool:
        del shard
        return True

    @property
    def works(self) -> set[int]:
        """The shards it works on."""
        return {shard.number for shard in self.shards.shards if shard.works}

    def tick(self) -> None:
        """Do what its loops do about every two seconds: hear, renew, look, say."""
        if self.frozen:
            return
        if not self.view.cut_off:
            self.view.deliver()
        self.renew()
        self.look()

    def renew(self) -> None:
        """Renew the leases, as `LeaseKeeper.run` does."""
        try:
            run(self.leases.step())
        except ReplicatorError as error:
            self.leases.lost(error)

    def look(self) -> None:
        """Begin and stop what is due, and say so again, as the loops of `Shards`, `Presence` and `ClaimKeeper` do."""
        before = self.works
        run(self.shards.tick(self.leases))
        self.began += [(shard, self.leases.epoch(shard)) for shard in self.works - before]
        self.world.note(self, self.works - before)
        try:
            run(self.presence.say_again())
            for shard in self.shards.shards:
                run(shard.claim.step())
        except ReplicatorError:
            return


@dataclass
class World:
    """All of it."""

    shards: int = 1
    time: float = 0.0
    topic: Topic = field(default_factory=Topic)
    store: MemoryLeases = field(default_factory=MemoryLeases)
    daemons: list[Daemon] = field(default_factory=list)
    epochs: dict[int, list[tuple[str, int]]] = field(default_factory=dict)

    def coordinator(self, rate: float = 1.0, start: float = 0.0) -> Coordinator:
        """Return one more coordinator over the store."""
        return Coordinator(self.store, TTL, Clock(self, rate, start))

    def daemon(
        self, name: str, coordinator: Coordinator, *, rate: float = 1.0, start: float = 0.0, stops_on_loss: bool = False
    ) -> Daemon:
        """Start a daemon."""
        made = Daemon(self, name, Clock(self, rate, start), Wire(coordinator), stops_on_loss=stops_on_loss)
        self.daemons.append(made)
        return made

    def kill(self, daemon: Daemon) -> None:
        """End a daemon without a word."""
        self.daemons.remove(daemon)

    def note(self, daemon: Daemon, shards: set[int]) -> None:
        """Check that a daemon begins under a lease newer than all that anybody worked under before."""
        for shard in shards:
            epoch = daemon.leases.epoch(shard)
            before = self.epochs.setdefault(shard, [])
            assert all(epoch > other for name, other in before if name != daemon.name), (daemon.name, epoch, before)
            before.append((daemon.name, epoch))

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, with everybody at work."""
        end = self.time + seconds
        while self.time < end:
            self.time += step
            for daemon in list(self.daemons):
                daemon.tick()

    def backup(self) -> dict[str, Any]:
        """Return a copy of the store."""
        return copy.deepcopy(self.store.values)

    def restore(self, backup: dict[str, Any]) -> None:
        """Put an old copy back."""
        self.store.values = copy.deepcopy(backup)

    def working(self, shard: int) -> list[str]:
        """Return who works on a shard."""
        return sorted(daemon.name for daemon in self.daemons if shard in daemon.works)
