"""Where a switch cuts: at our own last record, whatever stands behind it and however the target keeps its log."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Mapping

import pytest

from replicator.core.offsets.offset_map import OffsetPair
from replicator.engine.state import records as state
from replicator.engine.state.topic.log import Change, StateLog
from replicator.engine.switch.takeover import Takeover, take_over
from replicator.model.security import ClusterSpec
from replicator.model.units import parse_bootstrap
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster
from tests.integration.conftest import MakeCluster
from tests.integration.harness import REPLICATOR, Daemon, Lab
from tests.integration.kafka_client import Kafka, assert_equal, bounds, create, read_all, wait_copied, wait_until
from tests.integration.load import produce
from tests.integration.test_failover import tail_of
from tests.integration.test_switchover import PARTITIONS, both_ways, flow_of, last_switch, order, spread

OLD_MS = 8 * 86_400_000
ROLLS = {
    "soon": {"segment.ms": "1000"},
    "week": {},
    "index": {"segment.index.bytes": "48", "index.interval.bytes": "0"},
    "plain": {},
}
"""Settings under which the marker of a fence begins a segment of its own, and those under which it does not."""


def rolling_topics(source: Kafka, name: str) -> dict[str, str]:
    """Make a topic of each kind; the records of `week` are older than a segment is kept open."""
    topics = {kind: f"{name}-{kind}" for kind in ROLLS}
    for kind, topic in topics.items():
        create(source, topic, PARTITIONS, 1, **ROLLS[kind])
        # As many batches as the index has entries for: then the next append begins a segment.
        for at in range(4 if kind == "index" else 1):
            written_ms = time.time_ns() // 1_000_000 - (OLD_MS if kind == "week" else 0)
            produce(source, topic, ({**one, "timestamp": written_ms} for one in spread(30, at * 30)))
    return topics


@pytest.mark.long
def test_markers_that_begin_a_segment(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """A switchover and its way back: the cut is below the marker, and what is written behind it comes back."""
    topics = rolling_topics(east, topic_name)
    daemon = both_ways(lab, east, west, f"{topic_name}-*").start(ready_seconds=0)
    for topic in topics.values():
        wait_copied(east, west, topic)
    time.sleep(1.1)  # until the first segment of `soon` is older than a second
    ends = {topic: bounds(east, topic) for topic in topics.values()}
    order(daemon, "switchover", lab.flow, "--producers-stopped", "--reverse", "--yes")
    for cut in last_switch(daemon, lab.flow)["cuts"]:
        assert cut["source"] == cut["target"] == ends[cut["topic"]][cut["partition"]][1], cut
    for topic in topics.values():
        produce(west, topic, spread(30, 1000))
    for topic in topics.values():
        wait_copied(west, east, topic)
        assert_equal(west, east, topic)
    told = subprocess.run(
        [str(REPLICATOR), "verify", f"{lab.flow}-back", "-c", str(daemon.file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def lost(source: Kafka, west: Kafka, daemon: Daemon, topics: dict[str, str], uncopied: int) -> None:
    """Copy all of the source's topics, and let it take records that nobody copies."""
    for topic in topics.values():
        wait_copied(source, west, topic)
    time.sleep(6.0)  # until the source's ends were recorded
    daemon.freeze()
    for topic in topics.values():
        # The fetch that is under way takes these along: they lie in the daemon's socket, and are copied later.
        produce(source, topic, spread(PARTITIONS, 500))
    time.sleep(1.0)
    for topic in topics.values():
        produce(source, topic, spread(uncopied * PARTITIONS, 600))


@pytest.mark.long
def test_a_failover_counts_only_what_is_ours(west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster) -> None:
    """Markers that begin a segment, and records that applications wrote to the target first: the loss is exact."""
    source = make_cluster()
    topics = rolling_topics(source, topic_name)
    daemon = both_ways(lab, source, west, f"{topic_name}-*").start(ready_seconds=0)
    lost(source, west, daemon, topics, 2)
    source.kill()
    produce(west, topics["plain"], spread(4 * PARTITIONS, 900))
    daemon.thaw()
    order(daemon, "failover", lab.flow, "--confirm", lab.flow)
    cuts = last_switch(daemon, lab.flow)["cuts"]
    source.start()
    wait_until("the tail is measured", lambda: tail_of(daemon, lab.flow) is not None, 60)
    before = {topic: read_all(source, topic) for topic in topics.values()}
    held = {topic: read_all(west, topic) for topic in topics.values()}
    for cut in cuts:
        there, here = (some[cut["topic"]][cut["partition"]] for some in (before, held))
        copied = sum(one == other for one, other in zip(there, here, strict=False))
        assert cut["source"] == cut["target"] == copied, cut
    missing = sum(len(records) for topic in before.values() for records in topic.values()) - sum(
        cut["source"] for cut in cuts
    )
    assert tail_of(daemon, lab.flow) == missing
    assert missing >= 2 * PARTITIONS * len(topics)

    told = order(daemon, "failback", lab.flow, "--producers-stopped", "--yes", code=3)
    assert f"{missing:,} offsets that were never copied" in told or "never copied" in told, told
    order(daemon, "failback", lab.flow, "--confirm", last_switch(daemon, lab.flow)["confirm"])
    for topic in topics.values():
        wait_copied(source, west, topic)
        assert_equal(source, west, topic)
        assert [len(some) for some in read_all(source, topic).values()] == [len(some) for some in held[topic].values()]


@pytest.mark.long
def test_records_of_others_on_a_mirror_are_noticed(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Without waiting for the next batch: the partition stops, alone, and no switchover begins."""
    strays, other = f"{topic_name}-strays", f"{topic_name}-other"
    for topic in (strays, other):
        create(east, topic, PARTITIONS)
        produce(east, topic, spread(30))
    daemon = both_ways(lab, east, west, f"{topic_name}-*").start(ready_seconds=0)
    for topic in (strays, other):
        wait_copied(east, west, topic)
    wait_until("the way back stands by", lambda: "promoted" in str(flow_of(daemon, f"{lab.flow}-back")["reason"]))
    produce(west, strays, [{"value": b"stray", "partition": 1}])
    words = ("switchover", lab.flow, "--producers-stopped", "--reverse", "--yes")
    told = order(daemon, *words, code=3)
    assert strays in told, told
    assert daemon.cli("failover", "--rehearse", lab.flow).returncode != 0

    def states() -> dict[str, list[tuple[str, str | None]]]:
        mirrors = flow_of(daemon, lab.flow)["mirrors"]
        return {one["topic"]: [(part["state"], part["reason"]) for part in one["partitions"]] for one in mirrors}

    wait_until("it stops", lambda: states()[strays][1][1] == "foreign_writer", 30)
    copied = ("ACTIVE", None)
    assert states() == {strays: [copied, ("FAULTED", "foreign_writer"), copied], other: [copied] * PARTITIONS}


async def made_high(east: Kafka, west: Kafka, flow: str, topic: str, ends: dict[int, int]) -> None:
    """Record the cuts of a switchover, and let the way back begin, as a version did that counted the marker."""
    clusters = [
        Cluster(ClusterSpec(alias, parse_bootstrap(cluster.bootstrap)))
        for alias, cluster in (("east", east), ("west", west))
    ]
    old, new = clusters
    try:
        await asyncio.gather(old.open(), new.open())
        await asyncio.gather(old.refresh([topic]), new.refresh([topic]))
        logs = StateLog(old), StateLog(new)
        await asyncio.gather(*(log.read_to_end() for log in logs))
        back = state.find_flow(logs[0].records, f"{flow}-back", new.cluster_id, old.cluster_id)
        forth = state.find_flow(logs[1].records, flow, old.cluster_id, new.cluster_id)
        assert back is not None
        assert forth is not None
        places = {number: OffsetPair(end + 1, end + 1) for number, end in ends.items()}
        step = Takeover(topic, topic, new.topics[topic].topic_id, old.topics[topic].topic_id, places)
        await take_over(logs[0], back.uid, [step], epoch=0, reason="switchover", actor="test")
        key = state.key(pb.KIND_CUT, forth.uid, topic)

        def high(records: Mapping[bytes, bytes]) -> list[Change]:
            record = pb.CutRecord.FromString(records[key])
            assert list(record.cuts.source) == list(ends.values())
            for ends_of in (record.cuts.source, record.cuts.target):
                ends_of[:] = [end + 1 for end in ends_of]
            del record.cuts.foreign[:]
            return [state.put(key, record)]

        await logs[1].change(forth.uid, high)
    finally:
        old.close()
        new.close()


@pytest.mark.long
def test_cuts_of_an_earlier_version_heal(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Its way back stood still for ever; both logs tell where it should have begun."""
    create(east, topic_name, PARTITIONS)
    produce(east, topic_name, spread(30))
    daemon = both_ways(lab, east, west, topic_name).start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    wait_until("the way back stands by", lambda: "promoted" in str(flow_of(daemon, f"{lab.flow}-back")["reason"]))
    ends = {number: end for number, (_, end) in bounds(east, topic_name).items()}
    order(daemon, "switchover", lab.flow, "--producers-stopped", "--yes")
    assert daemon.stop() == 0
    asyncio.run(made_high(east, west, lab.flow, topic_name, ends))
    produce(west, topic_name, spread(30, 1000))
    daemon.start(ready_seconds=0)
    wait_copied(west, east, topic_name)
    assert_equal(west, east, topic_name)
    assert "above the marker of its fence" in str(flow_of(daemon, lab.flow)["reason"])
