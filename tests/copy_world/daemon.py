"""One daemon of a world: the parts of a flow that copy, assembled as `engine.flow.assembly` does it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

from replicator.core.copy.attaching.facts import Writers
from replicator.core.copy.values import Phase, TargetLimits
from replicator.core.topics.ownership import DOUBTS
from replicator.engine.copy.partitions.fill_route import FillRoute
from replicator.engine.copy.partitions.producer_state import Guard, ShardProducer
from replicator.engine.copy.partitions.recorded import Cleaning, Recorded
from replicator.engine.copy.pump import Pump
from replicator.engine.logs.choosing import OnlyOurs
from replicator.engine.logs.side import Side
from replicator.engine.state.ownership.origins import Origins
from replicator.engine.state.topic.log import StateLog
from replicator.engine.work.claim import ClaimKeeper
from replicator.engine.work.shards import Shard
from replicator.errors import ConnectionFailed, ReplicatorError
from replicator.model.names import STATE_TOPIC, fill_route_transactional_id
from replicator.model.spec import FlowSpec, Limits, LoopGuard, Offsets, Pattern, PatternKind, Selection
from replicator.model.status.states import Reason
from replicator.wire.cluster import Cluster
from tests.copy_world.broker import TARGET_ID, Broker, source_id
from tests.copy_world.network import ModelConnections, Pipe
from tests.copy_world.noted import Noted
from tests.copy_world.rules import QUEUE_BYTES_MAX, REGISTERED, TIMING, TOPIC, UID, WRITER
from tests.copy_world.source_log import BATCH_BYTES_MAX
from tests.copy_world.surroundings import SIDES, FlowsOfSource, NeverAlone, OneShard
from tests.copy_world.target_log import GUARD_MS

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from replicator.core.copy.machine import PartitionCopy
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.partitions.producer_state import Others
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.work.shards import Shards
    from replicator.wire.frames import Frame
    from tests.copy_world.world import World

_TOPICS = Selection((Pattern(PatternKind.GLOB, "*"),))
_IN_FLIGHT_BYTES = 768 << 10
_AGAIN_SECONDS = 1.0
DRAIN_SECONDS = 5.0


class Daemon:
    """One daemon of the flow, as far as one topic is concerned.

    What events do to it, or ask of it, is about the partition that the world is about (`World.current`).

    Attributes:
        name: Its own.
        flow: The flow's policy.
        pipes: Its connections that are open.
        pump: The pump.
        noted: What the judge has to know of each of its partitions.
        stalled: Purposes of connections on which nothing arrives, in either direction.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.pipes: list[Pipe] = []
        self.noted = [Noted() for _ in world.partitions]
        self.dead = False
        self.stalled: frozenset[str] = frozenset()
        self._works = True
        self.source = self._cluster(world.brokers["source"])
        self.target = self._cluster(world.brokers["target"])
        self.state_log = StateLog(self.target)
        self.flow = FlowSpec(
            "flow",
            "source",
            "target",
            _TOPICS,
            offsets=world.offsets,
            fill_limit=world.fill_length_max,
            loop_guard=LoopGuard.ORIGIN if world.shared else LoopGuard.NONE,
            limits=Limits(in_flight_bytes=_IN_FLIGHT_BYTES),
        )
        self.claim: ClaimKeeper
        self.pump: Pump
        self._slots: dict[int, Slot] = {}
        self._stepping: asyncio.Task[None] | None = None
        self._persisting: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._doubtful: set[int] = set()
        self._held: list[Frame] = []
        self._main = world.loop.create_task(self._run())

    def _cluster(self, broker: Broker) -> Cluster:
        spec = SIDES[broker.alias]
        made = Cluster(spec)
        made._connections = ModelConnections(
            spec,
            made._prove,
            lambda node, purpose: self._opened(broker, node, purpose),
        )
        return made

    def _opened(self, broker: Broker, node: int, purpose: str) -> Pipe:
        if self.dead or broker.is_down:
            raise ConnectionFailed("nobody is there", cluster=broker.alias)
        pipe = Pipe(self.name, broker, node, purpose, lambda: self.world.now_ms)
        self.pipes.append(pipe)
        return pipe

    # -- life ---------------------------------------------------------------------------------------------------------

    @property
    def works(self) -> bool:
        """Whether it works on the shard, or is to."""
        return self._works

    @property
    def is_up(self) -> bool:
        """Whether it has begun with its partition."""
        return self.slot_of(self.world.current.number) is not None

    def slot_of(self, number: int) -> Slot | None:
        """Return a partition of it, None if it has not begun with that."""
        return self._slots.get(number)

    @property
    def slot(self) -> Slot:
        """The partition that the world is about."""
        slot = self.slot_of(self.world.current.number)
        assert slot is not None
        return slot

    @property
    def copy(self) -> PartitionCopy:
        """The machine of that partition."""
        return self.slot.copy

    @property
    def noted_here(self) -> Noted:
        """What was noted of that partition."""
        return self.noted[self.world.current.number]

    async def _run(self) -> None:
        await self._find_its_way()
        self._assemble()
        beside = [self.world.loop.create_task(work) for work in self._beside()]
        for task in beside:
            task.add_done_callback(self._note_end)
        try:
            await self.pump.run()
        finally:
            for task in beside:
                task.cancel()

    def _assemble(self) -> None:
        self.claim = ClaimKeeper(
            self.state_log, UID, 0, self.name, TIMING, SIDES["target"].doubt_seconds, now=self.world.loop.time
        )
        self.claim.want(1)
        shard = Shard(0, self.claim, works=True)
        self.pump = self._make_pump(cast("Shards", OneShard(shard)), shard, NeverAlone())
        for _ in self.world.each():
            self.begin()

    def _make_pump(self, shards: Shards, shard: Shard, others: Others) -> Pump:
        world, now = self.world, self.world.loop.time
        route = FillRoute(self.target, fill_route_transactional_id(UID, 0), WRITER.fill_id, now)
        guard = Guard(self.claim, others, SIDES["target"].doubt_seconds, now, lambda: world.now_ms, self._writers_kick)
        origins = Origins(cast("Any", FlowsOfSource())) if world.shared else None
        pump = Pump(
            self.flow,
            Side(self.source, {TOPIC: source_id(REGISTERED)}, origins),
            Side(self.target, {TOPIC: TARGET_ID}, OnlyOurs(WRITER.producer_id) if world.shared else None),
            Writers(WRITER),
            shards,
            producers={shard: ShardProducer(guard, route)},
            watcher=self,
            maps=world.rules.maps_type(UID, self.state_log),
            origins=origins,
            now_ms=lambda: world.now_ms,
        )
        pump.routes.queued_bytes_max = QUEUE_BYTES_MAX
        return pump

    def _beside(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs beside the pump."""
        return [self.state_log.follow()]

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.world.found.append(f"{self.name}: {task.exception()!r}")

    async def _find_its_way(self) -> None:
        while True:
            try:
                await self.source.refresh([TOPIC])
                await self.target.refresh([TOPIC, STATE_TOPIC])
                await self.state_log.read_to_end()
            except ReplicatorError:
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    def _writers_kick(self) -> None:
        self.pump.wake_writers()

    def begin(self, *, doubtful: bool = False) -> None:
        """Begin with the partition that the world is about, as `Reconciler` does."""
        world, partition = self.world, self.world.current
        lenient = world.offsets is not Offsets.IDENTICAL
        limits = TargetLimits(
            BATCH_BYTES_MAX,
            GUARD_MS,
            world.fill_length_max,
            may_be_mapped=lenient,
            surplus_allowed=lenient,
            others_write=world.shared,
        )
        recorded = Recorded(
            seeded_to=world.mirror.seeded.get(partition.number, 0),
            active=partition.active,
            stored_epoch=partition.stored_epoch,
            cleaning=Cleaning(certain=world.compacted),
        )
        doubt_until = world.loop.time() + SIDES["target"].doubt_seconds if doubtful else None
        self.noted[partition.number].displaced = False
        self._slots[partition.number] = self.pump.add(
            partition.where, partition.where, limits, recorded, doubt_until=doubt_until
        )

    def kill(self) -> None:
        """End without a word; what is on its way may still arrive."""
        self.dead = True
        for task in (self._main, self._stepping, self._persisting, self._moving):
            if task is not None:
                task.cancel()
        for pipe in list(self.pipes):
            pipe.lose("the process is gone")
        self.world.loop.run_ready()
        for cluster in (self.source, self.target):
            cluster.close()
        self.world.loop.run_ready()

    # -- `pump.Watcher` -----------------------------------------------------------------------------------------------

    def changed(self, slot: PartitionView, before: Phase, text: str) -> None:
        """A partition changed its phase."""
        del before, text
        copy, partition = slot.copy, self.world.partitions[slot.source.partition]
        noted = self.noted[partition.number]
        if copy.phase is Phase.FAULTED:
            if copy.reason is not None:
                self.world.reasons.add(copy.reason)
            # The record answers what it was told of before; of a later difference nobody may have been told.
            told = noted.displaced and partition.map_generation == noted.displaced_at
            noted.displaced_by_another = not told and self.world.is_unrecorded(partition.number)
            noted.place_may_be_lost = not noted.lost_place or partition.is_place_lost()
        elif copy.phase is Phase.COPYING:
            partition.check_place(self.name, copy.target_end)
            noted.displaced = False

    def activated(self, slot: PartitionView) -> None:
        """A partition is copied for the first time."""
        self.world.partitions[slot.source.partition].active = True

    def intact_below(self, slot: PartitionView, source_end: int) -> int:
        """Nothing is known to be whole."""
        del slot, source_end
        return 0

    async def seeding(self, slot: PartitionView, offset: int) -> None:
        """A partition is going to be seeded."""
        self.world.partitions[slot.source.partition].seeds(offset)

    def topics_stale(self) -> None:
        """Look whether another topic stands under the name, as `TopicSync` does with the next pass."""
        self.world.loop.call_soon(self.look_at_topic)

    def look_at_topic(self) -> None:
        """Stop all partitions if the source's topic was made anew."""
        if self.dead or self.world.source.incarnation == REGISTERED:
            return
        for partition in self.world.partitions:
            slot = self.slot_of(partition.number)
            if slot is not None and slot.copy.phase is not Phase.FAULTED:
                self.pump.fault(slot, Reason.SOURCE_RECREATED, "another topic stands under the name")

    # -- what a history does ------------------------------------------------------------------------------------------

    def step_claim(self) -> None:
        """Take or renew the claim, unless that is under way."""
        if self.is_up and self.works and (self._stepping is None or self._stepping.done()):
            self._stepping = self.world.loop.create_task(quietly(self.claim.step()))

    def persist(self) -> None:
        """Write blocks of the map, unless that is under way."""
        if self.is_up and (self._persisting is None or self._persisting.done()):
            self._persisting = self.world.loop.create_task(
                quietly(self.pump.context.maps.persist(list(self._slots.values())))
            )

    def hand_over(self) -> None:
        """Stop working on the shard, as `Shards` does: drain, give the claim back, forget."""
        if self.works and (self._moving is None or self._moving.done()):
            self._works = False
            self._moving = self.world.loop.create_task(quietly(self._hand_over()))

    async def _hand_over(self) -> None:
        drained = await self.pump.drain(list(self._slots.values()), DRAIN_SECONDS, "the shard moves")
        try:
            await self.claim.give_back(drained=drained)
        finally:
            for number, slot in self._slots.items():
                if self._is_doubtful(slot):
                    self._doubtful.add(number)
                self.pump.remove(slot)
            self._slots.clear()

    def take_up(self) -> None:
        """Work on the shard again."""
        if not self.works and self._moving is not None and self._moving.done():
            self._works = True
            self.claim.want(1)
            for partition in self.world.each():
                self.begin(doubtful=partition.number in self._doubtful)
            self._doubtful.clear()

    @property
    def is_starved(self) -> bool:
        """Whether it has no frame to read into."""
        return bool(self._held)

    def starve(self) -> None:
        """Hold every frame that is free, or give back what was held."""
        frames = self.pump.context.line.frames
        if self._held:
            while self._held:
                self._held.pop().release()
            self.pump.wake_readers()
            return
        while (frame := frames.take()) is not None:
            self._held.append(frame)

    def pause(self) -> None:
        """Pause by wish; not one that was just told to begin again, which a pause would take back."""
        if not self.slot.attach.begins_again:
            self.pump.pause(self.slot)

    def unpause(self) -> None:
        """Go on after a pause."""
        if self.works and self.copy.phase is Phase.PAUSED and not self.slot.attach.begins_again:
            self.pump.resume(self.slot)

    def resolve(self) -> None:
        """Go on behind what an operator gave up."""
        if self.works and self.copy.phase is Phase.FAULTED:
            self.pump.resume(self.slot)

    def _is_doubtful(self, slot: Slot) -> bool:
        waits = slot.copy.sending.outstanding or slot.copy.doubtful
        return bool(waits) or slot.attach.doubt_until > self.world.loop.time()

    def succeed(self) -> None:
        """Forget the partition and begin with it anew, as after `mirror resolve`."""
        if not self.works or not may_be_forgotten(self.copy):
            return
        doubtful = self._is_doubtful(self.slot)
        self.pump.remove(self.slot)
        self.begin(doubtful=doubtful)

    def pipes_for(self, *purposes: str) -> list[Pipe]:
        """Return the open connections for some purposes, each as ``cluster purpose``, that are not stalled."""
        return [
            pipe
            for pipe in self.pipes
            if (not purposes or pipe.kind in purposes) and (not self.stalled or pipe.kind not in self.stalled)
        ]


def may_be_forgotten(copy: PartitionCopy) -> bool:
    """Whether an operator may let a partition begin anew: not where it is told of what only it can look into."""
    return copy.phase is not Phase.FAULTED and copy.reason not in DOUBTS


async def quietly(work: Any) -> None:
    """Do what the next time does, should it fail."""
    with contextlib.suppress(ReplicatorError):
        await work
