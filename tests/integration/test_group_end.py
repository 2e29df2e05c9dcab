"""The last round before a target takes over: exact while the source is there, and what is known where it is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from replicator.engine.flow.assembly.inputs import DaemonIdentity, FlowInputs
from replicator.engine.flow.runner import FlowRunner
from replicator.engine.work.coordinator import Coordinator
from replicator.errors import TimedOut
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import CoordinatorSpec, FlowSpec, GroupSync, Pattern, PatternKind, Selection
from replicator.model.status.groups import GroupOutcome, GroupState
from replicator.model.units import parse_address
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.client.peers import Peers
from replicator.store.event_store import MemoryStore
from replicator.store.memory_leases import MemoryLeases
from tests.integration.conftest import MakeCluster
from tests.integration.corpus.transactional import transactional
from tests.integration.group_tools import member, positions
from tests.integration.kafka_client import Kafka, commit, create
from tests.integration.load import numbered, produce

_SECONDS = 30.0


def cluster_spec(alias: str, cluster: Kafka) -> ClusterSpec:
    """Return how a cluster is reached, with short time-outs."""
    addresses = tuple(parse_address(one) for one in cluster.bootstrap.split(","))
    return ClusterSpec(alias, addresses, request_timeout_seconds=3.0, doubt_margin_seconds=1.0)


@asynccontextmanager
async def running(source: Kafka, target: Kafka, name: str, every_seconds: float = 0.5) -> AsyncIterator[FlowRunner]:
    """Run a flow of all that begins with a name, in this process."""
    meant = Selection((Pattern(PatternKind.PREFIX, name),))
    flow = FlowSpec(name, "east", "west", meant, group_sync=GroupSync(meant, every_seconds))
    runner = FlowRunner(
        FlowInputs(
            flow,
            cluster_spec("east", source),
            cluster_spec("west", target),
            CoordinatorSpec(3.0, 1.0, "memory"),
            DaemonIdentity("me", "127.0.0.1:0"),
            MemoryStore(),
            Coordinator(MemoryLeases(), 3.0, asyncio.get_running_loop().time),
            Peers(Endpoint("127.0.0.1:0")),
        )
    )
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        await runner.stop(1.0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await runner.close()


async def until(
    runner: FlowRunner, group: str, state: GroupState, source_offset: int | None, *, by_hand: bool = False
) -> None:
    """Wait until the flow shows a group in a state, with what it committed on the source in its first partition.

    With `by_hand` rounds are made here.
    """
    seen = None
    for _ in range(600):
        if by_hand and runner._run_state.assembly is not None:
            await runner._run_state.assembly.groups.round()
        seen = next((one for one in runner.operations.known_groups()[0] if one.group == group), None)
        if seen is not None and seen.state is state and seen.partitions[0].source_offset == source_offset:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{group} is not {state}: {seen}")


def of(found: tuple[GroupOutcome, ...]) -> Mapping[str, GroupOutcome]:
    """Return outcomes by group."""
    return {one.group: one for one in found}


async def test_every_group_is_brought_to_its_end(east: Kafka, west: Kafka, topic_name: str) -> None:
    """Behind the source's ends; one that is used on the target is told, and ends that are not passed time out."""
    create(east, topic_name)
    produce(east, topic_name, numbered(10))
    done, used = f"{topic_name}-done", f"{topic_name}-used"
    for group in (done, used):
        commit(east, group, topic_name, {0: 5})
    ends = {TopicPartition(topic_name, 0): 10}

    async with running(east, west, topic_name) as runner:
        for group in (done, used):
            await until(runner, group, GroupState.IN_STEP, 5)
        with member(west, used, topic_name):
            await asyncio.to_thread(commit, east, done, topic_name, {0: 8})
            await asyncio.to_thread(commit, east, used, topic_name, {0: 8})
            found = of(await runner._run_state.up().groups.final_sync(ends, {topic_name}, timeout_seconds=_SECONDS))
        assert (found[done].exact, found[done].reread_records, found[done].cut_records) == (True, 0, 0)
        assert (found[used].exact, found[used].state) == (False, GroupState.ACTIVE_ON_TARGET)
        assert found[used].reread_records == 3
        assert positions(west, done, topic_name) == [8]
        assert positions(west, used, topic_name) == [5]

        with pytest.raises(TimedOut) as late:
            await runner._run_state.up().groups.final_sync(
                {TopicPartition(topic_name, 0): 11}, {topic_name}, timeout_seconds=0.5
            )
        assert f"{topic_name}-0 copied up to 10 of 11" in str(late.value)

        # The target's consumers go on by themselves, and later the source is ahead again.
        await asyncio.to_thread(commit, west, done, topic_name, {0: 9})
        await asyncio.to_thread(commit, east, done, topic_name, {0: 10})
        await until(runner, done, GroupState.CHANGED_ON_TARGET, 10)
        await runner._run_state.up().groups.forget({topic_name})
        await until(runner, done, GroupState.IN_STEP, 10)
        assert positions(west, done, topic_name) == [10]


async def test_without_the_source_no_group_overtakes_its_output(
    west: Kafka, topic_name: str, make_cluster: MakeCluster
) -> None:
    """What waited for its output stays where it was, and it is told how much will be read again."""
    source = make_cluster()
    read, written = f"{topic_name}-in", f"{topic_name}-out"
    for topic in (read, written):
        create(source, topic)
        produce(source, topic, numbered(10))
    ahead, beyond = f"{topic_name}-ahead", f"{topic_name}-beyond"
    commit(source, ahead, read, {0: 3})
    commit(source, beyond, read, {0: 10})

    async with running(source, west, topic_name, every_seconds=3600.0) as runner:
        for group, offset in ((ahead, 3), (beyond, 10)):
            await until(runner, group, GroupState.IN_STEP, offset, by_hand=True)
        await asyncio.to_thread(commit, source, beyond, read, {0: 17})
        await until(runner, beyond, GroupState.NOT_TRANSLATED, 17, by_hand=True)
        groups = runner._run_state.up().groups
        with transactional(source, f"{topic_name}-open") as producer:
            producer.begin_transaction()
            producer.produce(written, b"open", partition=0)
            assert producer.flush(30) == 0
            await asyncio.to_thread(commit, source, ahead, read, {0: 9})
            waits = asyncio.create_task(groups.round())
            for _ in range(600):
                if groups._barrier.waiting is not None:
                    break
                await asyncio.sleep(0.05)
            assert groups._barrier.waiting is not None
            assert groups._barrier.waiting.reading.commits[ahead][TopicPartition(read, 0)].offset == 9
            source.kill()
            found = of(await runner._run_state.up().groups.final_sync(None, {read, written}, timeout_seconds=_SECONDS))
            waits.cancel()

    assert positions(west, ahead, read) == [3]
    assert (found[ahead].exact, found[ahead].reread_records) == (False, 6)
    assert positions(west, beyond, read) == [10]
    assert (found[beyond].exact, found[beyond].cut_records, found[beyond].reread_records) == (False, 7, 0)
