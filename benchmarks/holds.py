"""How long our steps hold up the event loop in a large flow: the real classes over clusters that answer at once.

``python -m benchmarks.holds [TOPICS]`` shows each step alone. A step that needs more than `HOLD_MS_MAX` in one piece
keeps every partition of the daemon from being copied for that long; twice the topics should need twice the time.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from asyncio.events import Handle
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx

from replicator.admin.topic_values import ConfigValue, TopicConfig
from replicator.core.copy.attaching.facts import Role, Writer, Writers
from replicator.core.copy.track import Track
from replicator.core.copy.values import Phase, TargetLimits
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair, Run
from replicator.core.topics.ownership import created
from replicator.engine.copy.partitions.live_maps import OffsetMaps, offset_block
from replicator.engine.copy.pump import Pump
from replicator.engine.flow.assembly.reconcile import Reconciler
from replicator.engine.flow.assembly.source_ends import SourceEnds
from replicator.engine.flow.status import flow_status
from replicator.engine.groups.positions import PumpPositions
from replicator.engine.groups.sides import SideView
from replicator.engine.groups.sync import GroupSync
from replicator.engine.logs.side import Side
from replicator.engine.state import records as state
from replicator.engine.state.groups import GroupRecords
from replicator.engine.state.journal import switches_of
from replicator.engine.state.ownership.owners import Owners
from replicator.engine.state.topic.chunks import BATCH_BYTES_MAX, batches, in_parts
from replicator.engine.state.topic.log import Change, StateLog
from replicator.engine.state.topic.view import Read
from replicator.engine.switch.changes import change_switches
from replicator.engine.topics.sync import TopicSync
from replicator.engine.work.shards import Shard
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import Translation, TranslationState
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Pattern, PatternKind, Selection
from replicator.model.spec import GroupSync as GroupPolicy
from replicator.model.status.groups import Committed, GroupKind, Listed
from replicator.model.status.snapshots import DaemonStatus, FlowStatus
from replicator.model.status.states import FlowState
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Cut, End, StepName, StepRecord, Verb
from replicator.obs.logs import configure
from replicator.rpc.client.control_client import ControlClient
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.server.server import RpcServer
from replicator.state_pb import state_pb2 as pb
from replicator.web.http import app
from replicator.wire.batches.records import Record
from replicator.wire.cluster import Cluster
from replicator.wire.topology import Leader, Topic

HOLD_MS_MAX = 50
TOPICS, PARTITIONS_PER_TOPIC, GROUPS, MAPPED = 1000, 10, 2000, 4000
_EVERY = Selection((Pattern(PatternKind.GLOB, "*"),))
_FLOW = FlowSpec("f", "east", "west", _EVERY, group_sync=GroupPolicy(_EVERY, 0.01))
_UID = "00000000-0000-4000-8000-000000000000"
_READ_BYTES = 1 << 20
_THOUSAND = 1000.0
_DEFAULTS = {"max.message.bytes": ConfigValue("1048588", "default_config")}


@dataclass(frozen=True, slots=True)
class Hold:
    """What a step took.

    Attributes:
        step: Which.
        longest_ms: The longest piece of it that let nothing else run.
        whole_ms: All of it.
    """

    step: str
    longest_ms: float
    whole_ms: float


class _Watch:
    """Measures how long each callback of the loop runs."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._run = Handle._run  # noqa: SLF001 - nothing else tells how long a callback took

    @contextmanager
    def on(self) -> Iterator[None]:
        """Measure."""
        run, watch = self._run, self

        def timed(handle: Handle) -> None:
            began = time.thread_time()
            run(handle)
            watch.longest = max(watch.longest, time.thread_time() - began)

        Handle._run = timed  # type: ignore[method-assign, assignment]  # noqa: SLF001
        try:
            yield
        finally:
            Handle._run = run  # type: ignore[method-assign]  # noqa: SLF001


class _Log(StateLog):
    """A state topic that takes and gives everything at once; what is recorded goes the real way."""

    async def read_to_end(self, seconds: float = 0.0) -> None:
        """All is read."""

    async def change(self, flow_uid: str, decide: Callable[[Mapping[bytes, bytes]], list[Change]]) -> Any:
        """Compare and set."""
        del flow_uid
        await self.append(decide(self.records))
        return self.records

    async def append(self, changes: Iterable[Change]) -> None:
        """Write and read."""
        made = await asyncio.to_thread(in_parts, list(changes), BATCH_BYTES_MAX, dict(self._view.notes))
        for some in batches(made, BATCH_BYTES_MAX):
            at = self.position
            records = [Record(at + number, 0, key, value, ()) for number, (key, value) in enumerate(some)]
            self._view.take([Read(at, at + len(some), records)], at + len(some))
            await asyncio.sleep(0)


class _Cluster(Cluster):
    """A cluster that has its topics, and answers nothing else."""

    async def refresh(self, topics: Iterable[str] | None) -> dict[str, int]:
        """Tell which are not there."""
        return {name: 3 for name in topics or () if name not in self.topics}

    async def ids_shown(self, names: Iterable[str]) -> dict[str, frozenset[bytes]]:
        """No broker is behind."""
        return dict.fromkeys(names, frozenset())

    async def describe(self, name: str) -> Topic | None:
        """Return a topic."""
        return self.topics.get(name)

    def add(self, name: str, count: int) -> None:
        """Create a topic."""
        leaders = {number: Leader(1, 0) for number in range(count)}
        self.topics[name] = Topic(name, f"{self.spec.alias[0]}{name:>15}".encode()[-16:], leaders, 1, 1)


class _Admin:
    """The settings of topics."""

    def __init__(self, cluster: _Cluster) -> None:
        self._cluster = cluster
        self._set: dict[str, dict[str, str]] = {}

    async def describe_configs(self, names: Iterable[str], refused: object = None) -> dict[str, TopicConfig]:
        """Return those that were set."""
        del refused
        return {name: TopicConfig(name, self._set.get(name, {}), _DEFAULTS) for name in names}

    async def alter_configs(self, topic: Any, values: Mapping[str, str], _delete: object = ()) -> None:
        """Take settings."""
        self._set[topic.name] = {**self._set.get(topic.name, {}), **values}

    async def create_topic(self, name: str, partitions: int, _: int, configs: Mapping[str, str], **__: object) -> Any:
        """Create a topic."""
        self._cluster.add(name, partitions)
        self._set[name] = dict(configs)
        return created(name, self._cluster.topics[name].topic_id)


def _flow_record() -> pb.FlowRecord:
    return pb.FlowRecord(uid=_UID, name="f", source_cluster_id="EAST", target_cluster_id="WEST")


def _cluster(alias: str) -> _Cluster:
    made = _Cluster(ClusterSpec(alias, ((alias, 1),)))
    made.cluster_id, made.brokers = alias.upper(), {1: (alias, 1)}
    return made


@dataclass(slots=True)
class _World:
    """A flow of some size; what it does is what its classes do."""

    topics: int
    found: list[Hold] = field(default_factory=list)

    async def step(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do one step, and measure it."""
        gc.collect()
        gc.disable()  # the daemon freezes what it holds, and collects rarely
        watch = _Watch()
        began = time.thread_time()  # not that of whatever else this machine does
        with watch.on():
            await asyncio.create_task(_awaited(work))
        whole = time.thread_time() - began
        gc.enable()
        self.found.append(Hold(name, watch.longest * _THOUSAND, whole * _THOUSAND))

    async def run(self) -> list[Hold]:
        """Do all steps."""
        source, target = _cluster("east"), _cluster("west")
        names = [f"orders.of.shop.{number:05d}" for number in range(self.topics)]
        for name in names:
            source.add(name, PARTITIONS_PER_TOPIC)
        log = _Log(target)
        await log.append(
            [
                state.put(state.flow_key(_UID), _flow_record()),
                state.put(
                    state.writer_key(_UID), pb.WriterRecord(producer_id=100, epoch=0, role=pb.WRITER_ROLE_COPYING)
                ),
            ]
        )
        owners = Owners(_FLOW, _UID, log, 30.0, time.monotonic)
        admins = cast("Any", (_Admin(source), _Admin(target)))
        sync = TopicSync(_FLOW, _UID, source, target, admins, log, owners)
        await self.step("a first pass over topics", lambda: sync.run_pass(configs=True))
        await self.step("a pass over topics", lambda: sync.run_pass(configs=False))
        await self.step("a pass over topics and settings", lambda: sync.run_pass(configs=True))
        pump, shard = self._pump(source, target, log, names)
        await self.step("active partitions recorded", lambda: _record_active(pump, sync))
        ends = SourceEnds(_UID, log)
        await self.step("ends of the source recorded", lambda: ends.record(pump, {shard}))
        await self.step("ends of the source recorded again", lambda: ends.record(pump, {shard}))
        await self.step("partitions lined up", lambda: _lined_up(sync, pump, ends))
        await self.step("partitions looked at that nobody leads", lambda: _leaderless(pump, target))
        await self._maps(log, pump)
        await self._groups(source, target, log, pump, sync)
        await self._switch(log, names)
        await self.step("status", lambda: _status(sync, pump))
        await self._asked(await _status(sync, pump))
        await self._read_anew(log)
        return self.found

    def _pump(self, source: _Cluster, target: _Cluster, log: _Log, names: Iterable[str]) -> tuple[Pump, Shard]:
        claim = SimpleNamespace(number=1, holder="me", effective_since=lambda: 0.0)
        nothing = cast("Any", None)
        shard = Shard(0, cast("Any", claim), nothing, nothing)
        shards = SimpleNamespace(
            of=lambda _: shard, close=lambda: None, holder=lambda _: "me", status=lambda: (), works_on=lambda _: True
        )
        watcher = SimpleNamespace(changed=lambda *_: None, activated=lambda _: None, topics_stale=lambda: None)
        writers = Writers(Writer(100, 0, Role.COPYING, 101, 0, 102))
        others: Any = {"producers": {}, "watcher": watcher, "maps": OffsetMaps(_UID, log)}
        sides = Side(source, source.topic_ids), Side(target, target.topic_ids)
        pump = Pump(_FLOW, *sides, writers, cast("Any", shards), **others)
        for name in names:
            for number in range(PARTITIONS_PER_TOPIC):
                where = TopicPartition(name, number)
                slot = pump.add(where, where, TargetLimits(1 << 20, 1000))
                slot.recorded.active = True
                slot.copy.reading.last_epoch = 3
                slot.lag.observe(1_000_000 + number, pump.context.now())
        return pump, shard

    async def _maps(self, log: _Log, pump: Pump) -> None:
        share = max(1, self.topics * PARTITIONS_PER_TOPIC // MAPPED)
        mapped = list(pump.slots.values())[::share]
        changes: dict[str, pb.MirrorRecord] = {}
        for slot in mapped:
            topic = slot.target.topic
            record = changes.setdefault(topic, state.get_mirror(log.records, _UID, topic) or pb.MirrorRecord())
            record.maps[slot.target.partition].CopyFrom(
                pb.PartitionMap(
                    generation=1, mapped=True, base=offset_block(OffsetMap(OffsetPair(0, 0)), OffsetPair(0, 0))
                )
            )
        await log.append([state.put(state.mirror_key(_UID, topic), record) for topic, record in changes.items()])
        await self.step("maps read", lambda: _refreshed(pump, mapped))
        for slot in mapped:
            _grow(slot)
        await self.step("maps recorded", lambda: pump.context.maps.persist(mapped))
        await self.step("maps read that have blocks", lambda: _refreshed(pump, mapped))

    async def _groups(self, source: _Cluster, target: _Cluster, log: _Log, pump: Pump, sync: TopicSync) -> None:
        names = list(source.topics)
        groups = self.topics * GROUPS // TOPICS
        commits = {
            f"group-{number}": {
                TopicPartition(names[(number + shift) % len(names)], partition): Committed(10)
                for shift in range(2)
                for partition in range(5)
            }
            for number in range(groups)
        }
        view = SideView({name: Listed(GroupKind.CLASSIC, "Empty") for name in commits}, commits)
        positions = PumpPositions(pump, sync, log, _UID, 1)
        made = GroupSync(_FLOW, _UID, source, target, positions, state_log=log, may_write=lambda: False)

        async def told(*_: object, **__: object) -> SideView:
            return view

        for side in (made._source, made._target):  # noqa: SLF001 - no broker is there to be asked
            side.read = side.find = told  # type: ignore[method-assign]
        made._behind = lambda *_: {}  # type: ignore[method-assign]  # noqa: SLF001
        made._positions = cast("Any", _Positions(positions))  # noqa: SLF001
        await self.step("a round of groups", made.round)
        await self.step("states of groups asked", lambda: _at_once(lambda: _standing(log, groups)))
        records = GroupRecords(_UID, log)
        ours = {
            name: {where: SimpleNamespace(offset=1, before=None, written_ms=1) for where in some}
            for name, some in commits.items()
        }
        await self.step("groups recorded", lambda: records.write(cast("Any", ours)))
        await self.step("statuses of groups", lambda: _at_once(made.statuses))

    async def _switch(self, log: _Log, names: list[str]) -> None:
        places = [(name, number) for name in names for number in range(PARTITIONS_PER_TOPIC)]
        journal = Journal(
            "20260101-120000-abcdef",
            Verb.FAILOVER,
            "f",
            reached=StepName.VERIFY_FENCE,
            history=(StepRecord(StepName.VERIFY_FENCE, 1, "d"),),
            ends=tuple(End(name, number, 10**9, identical=True) for name, number in places),
            cuts=tuple(Cut(name, number, 10**9, 10**9, name, observed_end=10**9) for name, number in places),
        )
        await self.step("a journal recorded", lambda: change_switches(log, _UID, lambda _: Switches(journal)))
        await self.step("a journal read", lambda: _at_once(lambda: switches_of(log.records, _UID)))

    async def _asked(self, flow: FlowStatus) -> None:
        """Answer scrapes and calls, by the real servers' handlers."""
        status = DaemonStatus(
            "me", "1", "2026-01-01T00:00:00Z", ready=True, not_ready_because=None, config_reload_ok=True, flows=(flow,)
        )

        class _Control:
            """A daemon of one flow whose picture is there already."""

            async def snapshot(self) -> DaemonStatus:
                return status

            async def whole_snapshot(self, _: str | None) -> DaemonStatus:
                return status

            def groups(self, _: str) -> tuple[tuple[()], None]:
                return (), None

        control = cast("Any", _Control())
        transport = httpx.ASGITransport(app(control))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for page in ("/metrics", "/readyz", "/status"):
                await self.step(f"{page} answered", partial(client.get, page))
        with tempfile.TemporaryDirectory() as directory:
            server = RpcServer(control, cast("Any", object()), host="127.0.0.1", port=0, state_dir=Path(directory))
            endpoint = Endpoint(f"127.0.0.1:{await server.start()}")

            def ask() -> None:
                with ControlClient(endpoint) as client:
                    client.status()

            await self.step("a call for status answered", lambda: asyncio.to_thread(ask))
            await server.stop(0.1)

    async def _read_anew(self, log: _Log) -> None:
        fresh = _Log(_cluster("west"))
        records = list(log.records.items())

        async def read() -> None:
            at = 0
            for some in batches(records, _READ_BYTES):
                made = [Record(at + number, 0, key, value, ()) for number, (key, value) in enumerate(some)]
                fresh._view.take([Read(at, at + len(some), made)], at + len(some))  # noqa: SLF001
                at += len(some)
                await asyncio.sleep(0)

        await self.step("the state topic read", read)


class _Positions:
    """Positions of a flow, but for log starts, which no broker is there to tell."""

    def __init__(self, real: PumpPositions) -> None:
        self.mirrors, self.wanted = real.mirrors, lambda **_: ()

    async def translate(self, questions: Any) -> Any:
        """Everything stands where it stood."""
        return [
            Translation(one.topic, one.topic, one.partition, one.offset, one.offset, TranslationState.EXACT)
            for one in questions
        ]


async def _awaited(work: Callable[[], Awaitable[object]]) -> object:
    return await work()


async def _at_once(work: Callable[[], object]) -> object:
    return work()


async def _lined_up(sync: TopicSync, pump: Pump, ends: SourceEnds) -> None:
    await Reconciler(_FLOW, pump, ends).apply(sync.mirrors.values(), 1000, lambda: False)


async def _leaderless(pump: Pump, target: _Cluster) -> None:
    """Look at partitions as the attach loop does, while no broker of the target is there."""
    brokers, target.brokers = target.brokers, {}
    attaching = pump._attach_loop  # noqa: SLF001 - a step of the real loop
    await attaching._attach_due()  # noqa: SLF001
    await attaching.note_waiting()
    target.brokers = brokers
    for slot in pump.slots.values():
        slot.copy.attach_again()


async def _record_active(pump: Pump, sync: TopicSync) -> None:
    for slot in pump.slots.values():
        mirror = sync.mirrors[slot.source.topic]
        mirror.active.add(slot.source.partition)
        mirror.epochs[slot.source.partition] = slot.copy.reading.last_epoch
    await sync.records.write()


def _grow(slot: Any) -> None:
    offsets = OffsetMap(OffsetPair(0, 0))
    for number in range(20):
        offsets.add(Run(number * 10, number * 9, 9))
    slot.copy.track = Track(offsets, mapped=True)
    slot.copy.phase = Phase.COPYING


async def _refreshed(pump: Pump, slots: Iterable[Any]) -> None:
    """Read maps as an attach does, one at a time."""
    for slot in slots:
        slot.mapping.record = b""
        pump.context.maps.refresh(slot)
        await asyncio.sleep(0)


def _standing(log: _Log, groups: int) -> None:
    for _ in range(groups):
        state.standing_role(log.records, _UID)


async def _status(sync: TopicSync, pump: Pump) -> FlowStatus:
    shown = FlowState.ACTIVE
    return await flow_status(shown, _FLOW, uid=_UID, mirrors=sync.mirrors, pump=pump, paused=False, reason=None)


def run_holds(topics: int = TOPICS) -> list[Hold]:
    """Return what each step of a flow with so many topics took."""
    return asyncio.run(_World(topics).run())


def main() -> int:
    """Show each step."""
    configure(level="ERROR")
    for hold in run_holds(int(sys.argv[1]) if len(sys.argv) > 1 else TOPICS):
        late = "  <-- too long" if hold.longest_ms > HOLD_MS_MAX else ""
        print(f"{hold.longest_ms:9.1f} ms of {hold.whole_ms:9.1f} ms  {hold.step}{late}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
