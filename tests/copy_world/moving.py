"""Daemons whose shard moves: the real classes work leases, signs of life and the claim, by their own timers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicator.engine.flow.assembly.assemble import silence_seconds
from replicator.engine.flow.assembly.reconcile import Reconciler
from replicator.engine.flow.assembly.source_ends import SourceEnds
from replicator.engine.state import records as state
from replicator.engine.topics.mirror import Mirror
from replicator.engine.work.claim import ClaimKeeper
from replicator.engine.work.coordinator import Coordinator
from replicator.engine.work.leases import LeaseKeeper
from replicator.engine.work.presence import Presence
from replicator.engine.work.shards import OnShard, Shard, Shards
from replicator.model.lease import LeaseCaller
from replicator.model.spec import CoordinatorSpec
from replicator.store.memory_leases import MemoryLeases
from tests.copy_world.broker import TARGET_ID, source_id
from tests.copy_world.daemon import DRAIN_SECONDS, Daemon, may_be_forgotten, quietly
from tests.copy_world.rules import REGISTERED, TIMING, TOPIC, UID
from tests.copy_world.source_log import BATCH_BYTES_MAX
from tests.copy_world.surroundings import SIDES
from tests.copy_world.target_log import GUARD_MS
from tests.lease_wire import Wire

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from replicator.engine.copy.partitions.partition import Slot
    from replicator.model.lease import Versioned
    from tests.copy_world.loop import VirtualLoop
    from tests.copy_world.world import World

_DOUBT_SECONDS = SIDES["target"].doubt_seconds
_SILENCE_SECONDS = silence_seconds(CoordinatorSpec(TIMING.ttl_seconds, TIMING.margin_seconds), SIDES["target"])
_END_SECONDS = 10.0


class LeaseService:
    """The coordinator of a world, which loses its memory, or has its store restored from an old copy."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._store = MemoryLeases()
        self._copied: dict[str, Versioned] = {}
        self._wires: list[Wire] = []
        self.restart()

    def wire(self) -> Wire:
        """Return one daemon's way here."""
        made = Wire(self._coordinator)
        self._wires.append(made)
        return made

    def restart(self) -> None:
        """Begin again: nobody has been heard yet."""
        self._coordinator = Coordinator(self._store, TIMING.ttl_seconds, self._loop.time)
        for wire in self._wires:
            wire.coordinator = self._coordinator

    def copy(self) -> None:
        """Keep a copy of the store."""
        self._copied = dict(self._store.values)

    def restore(self) -> None:
        """Go back to the copy."""
        self._store.values = dict(self._copied)
        self.restart()


class MovingDaemon(Daemon):
    """A daemon that works on the shard while leases and signs of life say so.

    Args:
        world: The world.
        name: Its own.
        predecessor: The daemon before it in its state directory, which has ended.

    Attributes:
        wire: Its way to the coordinator.
        shards: The one shard.
    """

    def __init__(self, world: World, name: str, predecessor: str | None = None) -> None:
        self.wire = world.leases.wire()
        self.shards: Shards
        self._shard: Shard | None = None
        self._predecessor = predecessor
        self._presence: Presence
        self._leases: LeaseKeeper
        self._source_ends: SourceEnds
        self._reconciler: Reconciler
        super().__init__(world, name)

    @property
    def works(self) -> bool:
        """See `Daemon.works`."""
        return self._shard is not None and self._shard.works and not self._shard.stopping

    @property
    def is_up(self) -> bool:
        """See `Daemon.is_up`."""
        return self._shard is not None and self.world.current.where in self.pump.slots

    def slot_of(self, number: int) -> Slot | None:
        """See `Daemon.slot_of`: of the pump, which has another one after each move."""
        return self.pump.slots.get(self.world.partitions[number].where) if self._shard is not None else None

    @property
    def is_ending(self) -> bool:
        """Whether it was asked to end."""
        return self._moving is not None

    @property
    def has_left(self) -> bool:
        """Whether it was asked to end, and has."""
        return self._moving is not None and self._moving.done()

    def _assemble(self) -> None:
        """Make what works, as `engine.flow.assembly` does."""
        now, uid = self.world.loop.time, UID
        self._presence = Presence(
            self.state_log, uid, self.name, "", 1, TIMING, _SILENCE_SECONDS, self._predecessor, now=now
        )
        self.claim = ClaimKeeper(self.state_log, uid, 0, self.name, TIMING, _DOUBT_SECONDS, self._predecessor, now=now)
        shard = Shard(0, self.claim)
        self.shards = Shards(
            self.flow.name,
            self.name,
            [shard],
            self._presence,
            stops_on_loss=self.world.stops_on_loss,
            catch_up=self.state_log.read_to_end,
            drain=self._drain_shard,
            on_change=self._shards_changed,
        )
        self.state_log.listen(self._heard)
        self.pump = self._make_pump(self.shards, shard, OnShard(self._presence, 0))
        caller = LeaseCaller(uid, self.flow.name, self.name, "", 1)
        shards = self.shards
        self._leases = LeaseKeeper(self.wire, caller, TIMING, shards.floors, shards.busy, shards.kick, now=now)
        self._source_ends = SourceEnds(uid, self.state_log)
        self._reconciler = Reconciler(self.flow, self.pump, self._source_ends)
        self._shard = shard

    def _beside(self) -> list[Coroutine[Any, Any, None]]:
        return [
            *super()._beside(),
            self._presence.run(),
            self._leases.run(),
            self.shards.run(self._leases),
            self.claim.run(),
        ]

    def _heard(self, key: bytes) -> None:
        if state.presence_of(key, UID) is not None:
            self.shards.kick()

    # -- as `FlowRunner` does -----------------------------------------------------------------------------------------

    async def _drain_shard(self, shard: Shard) -> bool:
        slots = [slot for slot in self.pump.slots.values() if slot.shard is shard]
        drained = await self.pump.drain(slots, DRAIN_SECONDS, "handed over")
        if shard.works and shard.claim.holder == self.name:
            await quietly(self._record_ends(shard))
        self._reconciler.forget(slots)
        return drained

    async def _record_ends(self, shard: Shard) -> None:
        await self.pump.persist_maps({shard})
        await self._source_ends.record(self.pump, {shard})

    def _shards_changed(self) -> None:
        self.pump.start(self._reconcile())

    async def _reconcile(self) -> None:
        for partition in self.world.partitions:
            if partition.where not in self.pump.slots:
                self.noted[partition.number].displaced = False
        await self._reconciler.apply([self._mirror()], GUARD_MS, lambda: False)

    def _mirror(self) -> Mirror:
        world = self.world
        mirror = Mirror(TOPIC, TOPIC)
        record = state.get_mirror(self.state_log.records, UID, TOPIC)
        if record is not None:
            mirror.take(record)
        mirror.source_id, mirror.target_id = source_id(REGISTERED), TARGET_ID
        mirror.partitions, mirror.batch_bytes_max, mirror.recorded = world.count, BATCH_BYTES_MAX, True
        mirror.surely_compacted = world.compacted
        mirror.active = {each.number for each in world.partitions if each.active}
        mirror.epochs = {each.number: each.stored_epoch for each in world.partitions}
        return mirror

    # -- what a history does ------------------------------------------------------------------------------------------

    def step_claim(self) -> None:
        """Nothing: the claim is worked by its own timer."""

    def hand_over(self) -> None:
        """End as at SIGTERM: let others take over, drain, give back."""
        if self._shard is not None and self._moving is None:
            self._moving = self.world.loop.create_task(self._end())

    async def _end(self) -> None:
        await self.shards.end(_END_SECONDS)

    def take_up(self) -> None:
        """Nothing: leases tell."""

    def succeed(self) -> None:
        """See `Daemon.succeed`: every daemon forgets the mirror's partitions once its record has changed."""
        slots = list(self.pump.slots.values()) if self.works else []
        if slots and all(may_be_forgotten(slot.copy) for slot in slots):
            self._reconciler.start_over(TOPIC)
            self._shards_changed()
