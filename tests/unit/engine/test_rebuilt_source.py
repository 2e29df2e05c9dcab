"""A source that was rebuilt under its address: nothing of the new cluster is read, or changed, as if it were the old.

The clusters, and what asks them, are the real ones, over real sockets; the brokers are modelled, with their ids.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from replicator.admin.topics import TopicAdmin
from replicator.core.switch.machine import steps as do
from replicator.engine.flow.assembly.inputs import DaemonIdentity, FlowInputs
from replicator.engine.flow.runner import FlowRunner
from replicator.engine.state import records as state
from replicator.engine.state.journal import put_switches, switches_of
from replicator.engine.state.ownership.between import ClusterPair
from replicator.engine.switch.context import SwitchContext
from replicator.engine.switch.executor import Executor
from replicator.engine.switch.keeper import SwitchKeeper
from replicator.engine.switch.places import log_ends
from replicator.engine.switch.steps.close_source import CloseSource
from replicator.engine.switch.steps.divergent import Divergent
from replicator.engine.switch.steps.fencing import Fencing
from replicator.engine.switch.steps.locks import SourceLocks
from replicator.errors import KafkaError, WrongCluster
from replicator.model.security import ClusterSpec
from replicator.model.spec import CoordinatorSpec, FlowSpec
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Close, Cut, Direction, Options, Outcome, StepName, StepRecord, Verb
from replicator.state_pb import state_pb2 as pb
from replicator.store.event_store import MemoryStore
from replicator.wire.cluster import Cluster
from tests.lease_world import Topic, View
from tests.unit.engine.log_broker import Log, LogBroker, written
from tests.unit.engine.log_world import FLOW, ZERO, World, copied, opened, worlds

__all__ = ("worlds",)  # a fixture

UID = "uid"
LOCK = "TOPIC orders-1 LITERAL User:* * WRITE DENY"
CUT = Cut("orders-1", 0, 20, 20, "orders-1", observed_end=23, observed_ms=5)
NAMED = "cluster 'east' is not the same one as before: flow 'f' copies from source, and rebuilt answers now"


class Region:
    """A flow whose source can be killed, and rebuilt at its port with 43 records of its own."""

    def __init__(self, recorded_id: str = "source") -> None:
        self.recorded_id = recorded_id
        self.old, self.west = LogBroker(1), LogBroker(1)
        self.old.logs = {ZERO: Log([written(0, 20)], end=20)}
        self.new: LogBroker | None = None

    async def begin(self) -> None:
        """Listen, and let a daemon know both clusters."""
        self.west.cluster_id = "hub"
        await self.old.open()
        await self.west.open()
        specs = [
            ClusterSpec("east", (("127.0.0.1", self.old.port),), request_timeout_seconds=5),
            ClusterSpec("west", (("127.0.0.1", self.west.port),), request_timeout_seconds=5),
        ]
        self.source, self.target = (Cluster(spec) for spec in specs)
        self.log = View(Topic())
        flow = pb.FlowRecord(
            uid=UID, name="f", source_alias="east", source_cluster_id=self.recorded_id, target_cluster_id="hub"
        )
        await self.log.append([state.put(state.flow_key(UID), flow)])
        await self.log.read_to_end()
        admins = TopicAdmin(specs[0]), TopicAdmin(specs[1])
        admins[0].prove_with(self.source.prove)
        back = FlowSpec("b", "west", "east", FLOW.topics, reverse_of="f")
        self.between = ClusterPair(FLOW, self.source, self.target, MemoryStore())
        self.between.hold_source(self.log.records, UID)
        self.context = SwitchContext(
            FLOW, back, self.source, self.target, admins, cast("Any", self.log), UID, "me", lambda: None
        )
        await self.source.refresh(["orders-1"])
        await self.target.open()

    async def rebuild(self) -> None:
        """Kill the source, and build another one at its port."""
        self.old.close()
        self.new = LogBroker(1)
        self.new.cluster_id = "rebuilt"
        self.new.logs = {ZERO: Log([written(0, 43)], end=43)}
        await self.new.open(self.old.port)

    async def switch(self, journal: Journal) -> None:
        """Let a switch stand where its journal says."""
        await self.log.append(put_switches(UID, Switches(journal)))
        await self.log.read_to_end()

    @property
    def journal(self) -> Journal:
        """The present switch."""
        current = switches_of(self.log.records, UID).current
        assert current is not None
        return current

    def close(self) -> None:
        """Stop."""
        self.source.close()
        self.target.close()
        for broker in (self.old, self.west, self.new):
            if broker is not None:
                broker.close()


@pytest.fixture
async def region() -> AsyncIterator[Region]:
    """A flow that copies."""
    made = Region()
    await made.begin()
    yield made
    made.close()


async def refused(work: Any) -> KafkaError:
    """Return why something is refused."""
    try:
        await work
    except KafkaError as error:
        return error
    raise AssertionError("it was done")


async def test_no_connection_leads_to_another_cluster(region: Region) -> None:
    """Nor one to a leader that is still known from before, which is opened without asking who leads."""
    assert await log_ends(region.source, [ZERO]) == {ZERO: 20}
    await region.rebuild()
    error = await refused(log_ends(region.source, [ZERO]))
    if not isinstance(error, WrongCluster):  # the old connection is lost once
        error = await refused(log_ends(region.source, [ZERO]))
    assert str(error).startswith(NAMED)
    assert region.source.another is error
    assert region.new is not None
    region.new.cluster_id = "source"  # the right one is back
    assert await log_ends(region.source, [ZERO]) == {ZERO: 43}
    assert region.source.another is None


async def test_a_cluster_that_was_opened_before_it_was_known_which_is_meant(region: Region) -> None:
    """What was open then is not used any more."""
    await region.rebuild()
    fresh = Cluster(region.source.spec)
    await fresh.open()
    assert fresh.cluster_id == "rebuilt"
    between = ClusterPair(FLOW, fresh, region.target, MemoryStore())
    between.hold_source(region.log.records, UID)
    assert str(await refused(fresh.refresh([]))).startswith(NAMED)
    fresh.close()


async def test_a_failover_does_not_take_the_new_ends_for_its_loss(region: Region) -> None:
    """It counted what the new cluster holds: a loss that is none, or none where there is one."""
    await region.rebuild()
    assert await Fencing(region.context)._seen_now([CUT]) == [CUT]
    unknown = Cut("orders-1", 0, 20, 20, "orders-1")
    assert (await Fencing(region.context)._seen_now([unknown]))[0].loss is None


async def test_tails_are_not_measured_and_it_is_said_why(region: Region) -> None:
    """They were "23 offsets, the exact loss": records of the new cluster."""
    await region.switch(Journal("s", Verb.FAILOVER, flow="f", outcome=Outcome.DONE, ended_ms=1, cuts=(CUT,)))
    keeper = SwitchKeeper(region.context)
    assert keeper.statuses()[0].waits_for is None
    await region.rebuild()
    assert await keeper._executor.advance() is None
    assert await keeper._executor.advance() is None
    assert region.journal.cuts == (CUT,)
    assert isinstance(await refused(Divergent(region.context).measure(do.MeasureTails((CUT,)))), WrongCluster)
    (shown,) = keeper.statuses()
    assert shown.known_tail is None
    assert (shown.waits_for or "").startswith(f"the old source, to measure its tail: {NAMED}")
    assert "start over from west" in (shown.waits_for or "")

    assert region.new is not None
    region.new.cluster_id = "source"
    assert await keeper._executor.advance() == ""
    assert keeper.statuses()[0].known_tail == 23
    assert keeper.statuses()[0].waits_for is None


@pytest.mark.parametrize("verb", [Verb.SWITCHOVER, Verb.FAILBACK])
async def test_what_needs_the_source_is_refused_by_name(
    region: Region, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what works: for a failback a new flow from the open side."""
    await region.rebuild()
    await refused(region.source.refresh([]))
    closing = CloseSource(region.context, SourceLocks(region.context), Fencing(region.context).preview)

    async def none() -> list[str]:
        return []

    monkeypatch.setattr(closing, "_marker_problems", none)
    journal = Journal("s", verb, flow="f", options=Options(close=Close.STATED))
    found = (await closing.problems(journal))[-1]
    assert found.startswith(NAMED)
    assert "nothing on it is read or changed" in found
    helps = "from west to east, without `reverse_of`" if verb is Verb.FAILBACK else "(replicator failover f)"
    assert helps in found


@pytest.mark.parametrize("reached", [StepName.PROVE_QUIESCENCE, StepName.CONFIRM, StepName.RESTORE_TOPICS])
async def test_a_failback_under_way_ends_with_that_reason(region: Region, reached: StepName) -> None:
    """It waited for ever; what it would have exported, deleted and restored is on the cluster that is gone."""
    before = (StepName.PREFLIGHT, StepName.PROVE_QUIESCENCE, StepName.FIND_TAILS, StepName.EXPORT_TAILS)
    path = (*before, StepName.CONFIRM, StepName.RESTORE_TOPICS)
    history = tuple(StepRecord(one, 1) for one in path[: path.index(reached) + 1])
    options = Options(close=Close.STATED, reverse_flow="b")
    await region.switch(Journal("s", Verb.FAILBACK, flow="f", options=options, reached=reached, history=history))
    await region.rebuild()
    executor = Executor(region.context)
    for _ in range(4):  # steps that ask the source nothing pass before
        with contextlib.suppress(KafkaError):  # the old connection is lost once
            await executor.advance()
    assert region.journal.outcome is Outcome.ABORTED
    assert region.journal.stopped_by.startswith(NAMED)
    assert "start over from west" in region.journal.stopped_by


async def test_an_abort_removes_no_rule_of_another_cluster(region: Region) -> None:
    """It waits with the reason: a failover takes over. No client of the rules' is even made."""
    journal = Journal("s", Verb.SWITCHOVER, flow="f", direction=Direction.ABORTING, locks=(LOCK,))
    await region.switch(journal)
    await region.rebuild()
    executor = Executor(region.context)
    await refused(executor.advance())
    error = await refused(executor.advance())
    assert isinstance(error, WrongCluster)
    assert "replicator failover f" in error.next_step
    assert not region.journal.finished
    assert region.context.admins[0]._connection._client is None


async def test_a_flow_record_without_the_id_proves_nothing_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """An earlier version may not have known it: the source is asked as before."""
    made = Region(recorded_id="")
    await made.begin()
    made.between.hold_source(made.log.records, UID)
    await made.rebuild()
    with contextlib.suppress(KafkaError):  # the old connection is lost once
        await made.source.refresh([])
    await made.source.refresh(["orders-1"])
    assert await log_ends(made.source, [ZERO]) == {ZERO: 43}
    assert capsys.readouterr().err.count("is not recorded") == 1
    made.close()


async def test_a_partition_waits_for_its_cluster_and_is_not_called_truncated(
    worlds: list[World],
) -> None:
    """It stood FAULTED as source_truncated, with commands that give up what may be the last copy."""
    world = await opened(worlds)
    between = ClusterPair(FLOW, world.pump.source.cluster, world.pump.target.cluster, MemoryStore())
    log = View(Topic())
    await log.append([state.put(state.flow_key(UID), pb.FlowRecord(uid=UID, name="f", source_cluster_id="source"))])
    await log.read_to_end()
    between.hold_source(log.records, UID)
    slot = world.add(ZERO, Log([written(0, 20)], end=20), copied(20, 20))
    world.run()
    await world.until(slot.copy.is_copying)
    world.source.close()
    rebuilt = LogBroker(1)
    rebuilt.cluster_id, rebuilt.logs = "rebuilt", {ZERO: Log([], end=0)}
    await rebuilt.open(world.source.port)
    world.source = rebuilt
    cluster = world.pump.source.cluster
    await world.until(lambda: rebuilt.looks or rebuilt.fetches or cluster.another is not None)
    world.pump.leaders_stale()
    await world.until(lambda: slot.copy.reason is not None or "east broker 1" in world.pump.overview.present_problems())
    await asyncio.sleep(0.5)
    assert not slot.copy.is_faulted()
    assert (rebuilt.looks, rebuilt.fetches) == ([], [])
    assert world.pump.overview.present_problems()["east broker 1"].startswith(NAMED)


async def test_whatever_a_flow_carries_switches_out_with_is_held_to_its_source(region: Region) -> None:
    """The wire's connections and librdkafka's client alike, from the first look at the flow's record on."""
    await region.rebuild()
    runner = FlowRunner(
        FlowInputs(
            FLOW,
            region.source.spec,
            region.target.spec,
            CoordinatorSpec(3.0, 1.0, "memory"),
            DaemonIdentity("me", "127.0.0.1:0"),
            MemoryStore(),
            cast("Any", None),
            cast("Any", None),
        )
    )
    assert runner._inputs.admins[0]._connection.before == runner._inputs.source.prove
    await runner._inputs.source.open()
    context = runner._switch_context(cast("Any", region.log), UID)
    assert str(await refused(context.reach_source())).startswith(NAMED)
    assert str(await refused(context.admins[0].acls.rules())).startswith(NAMED)
    runner._inputs.source.close()
