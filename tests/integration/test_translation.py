"""Translated offsets on real brokers: reading the other side from there gives the copy of the next record."""

from __future__ import annotations

import bisect
import json
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import TopicPartition as Asked

from replicator import api
from replicator.api import ControlClient, Endpoint, OffsetQuestion, TranslationState
from replicator.errors import UsageError
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import Isolation
from replicator.model.units import parse_address
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.messages.data.markers import write_markers
from tests.integration.corpus.compaction import cleaned, compacted
from tests.integration.corpus.transactional import transactional, transactions
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import (
    Kafka,
    Record,
    bounds,
    commit,
    configure,
    consumer,
    create,
    delete_below,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import numbered, produce

PROBES = 100_000
PARTITIONS = 4


def rows(daemon: Daemon, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    """Return exit code, rows and remarks of `offsets translate -o json`."""
    done = daemon.cli("offsets", "translate", daemon.flow_name, *words, "-o", "json")
    return done.returncode, json.loads(done.stdout)["offsets"] if done.stdout else [], done.stderr


def of_one(topic: str, partition: int, offset: int) -> tuple[str, ...]:
    """Return the words for one offset."""
    return ("--topic", topic, "--partition", str(partition), "--offset", str(offset))


def test_offsets_and_groups_are_translated_both_ways(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Renamed and mapped: also while it is paused, when what came later is not there yet."""
    create(east, topic_name, 2)
    transactions(east, topic_name, 30, 2, f"{topic_name}-a")
    daemon = lab.daemon(
        east,
        west,
        offsets="mapped",
        topics={"include": [topic_name], "rename": {"prefix": "east."}},
        groups={"include": []},  # what the group has committed on the target is what this test commits there
    ).start()
    there = read_all(east, topic_name, isolation=Isolation.READ_COMMITTED)
    copied = {number: len(records) for number, records in there.items()}
    target = f"east.{topic_name}"
    wait_until("it is copied", lambda: {at: end for at, (_, end) in bounds(west, target).items()} == copied)
    ends = {number: end for number, (_, end) in bounds(east, topic_name).items()}
    wait_until("so says the daemon", lambda: daemon.flow()["lag_records"] == 0)

    record = there[0][3]
    before = there[0][2].offset + 1
    code, (row,), _ = rows(daemon, *of_one(topic_name, 0, before))
    assert (code, row["target_topic"], row["target_offset"], row["state"]) == (0, target, 3, "exact")
    code, (row,), _ = rows(daemon, *of_one(target, 0, 3), "--reverse")
    assert (code, row["source_offset"], row["target_offset"], row["topic"]) == (0, record.offset, 3, topic_name)
    rpc = daemon.document["daemon"]["rpc"]
    one = api.translate(rpc, lab.flow, target, 1, copied[1] + 2, reverse=True)
    assert (one.source_offset, one.state, one.behind_records) == (None, TranslationState.BEYOND_TARGET_END, 2)

    assert daemon.cli("flow", "pause", lab.flow, "--wait").returncode == 0
    produce(east, topic_name, numbered(7))
    commit(east, f"{topic_name}-group", topic_name, {0: ends[0] + 7, 1: there[1][5].offset})
    code, found, said = rows(daemon, "--group", f"{topic_name}-group")
    assert code == 1
    assert [(each["partition"], each["source_offset"], each["target_offset"], each["state"]) for each in found] == [
        (0, ends[0] + 7, None, "not_yet_replicated"),
        (1, there[1][5].offset, 5, "exact"),
    ]
    assert found[0]["behind_records"] == 7
    assert "the partition is PAUSED" in found[0]["detail"]
    assert "1 of 2 offsets" in said

    assert daemon.cli("flow", "resume", lab.flow, "--wait").returncode == 0
    wait_until("the group is translated", lambda: rows(daemon, "--group", f"{topic_name}-group")[0] == 0)
    commit(west, f"{topic_name}-group", target, {0: copied[0] + 7})
    code, (row,), _ = rows(daemon, "--group", f"{topic_name}-group", "--reverse")
    assert (code, row["source_offset"], row["target_offset"]) == (0, ends[0] + 7, copied[0] + 7)

    delete_below(west, target, 4)
    one = api.translate(rpc, lab.flow, topic_name, 0, 0)
    assert (one.target_offset, one.state, one.detail) == (4, TranslationState.BELOW_LOG_START, None)
    done = daemon.cli("offsets", "translate", lab.flow, "--group", "nobody")
    assert (done.returncode, "has committed no offset" in done.stderr) == (2, True), done.stderr
    for topic, partition, why in (("nothing", 0, "no topic named 'nothing'"), (topic_name, 2, "has no partition 2")):
        with pytest.raises(UsageError, match=why):
            api.translate(rpc, lab.flow, topic, partition, 1)


@pytest.mark.long
def test_a_daemon_that_never_looked_says_so(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Started while its flow is paused."""
    create(east, topic_name)
    produce(east, topic_name, numbered(5))
    daemon = lab.daemon(east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    assert daemon.cli("flow", "pause", lab.flow, "--wait").returncode == 0
    assert rows(daemon, *of_one(topic_name, 0, 5))[0] == 0
    daemon.kill()
    daemon.start()
    wait_until("it knows the topic", lambda: daemon.mirror(topic_name).get("partitions"))

    code, (row,), said = rows(daemon, *of_one(topic_name, 0, 5))

    assert (code, row["state"], row["target_offset"]) == (1, "not_attached", None)
    assert "`replicator flow resume` lets it compare them" in said


# -- 100,000 questions per shape ------------------------------------------------------------------------------------


class Judge:
    """Knows by the independent reader which record of one side is the copy of which on the other.

    Args:
        there: The source's records of a partition, as copied: in order, each with its offset.
        here: The target's.
        ends: Where both logs end.
    """

    def __init__(self, there: Sequence[Record], here: Sequence[Record], ends: tuple[int, int]) -> None:
        assert [record[2:] for record in there] == [record[2:] for record in here]
        self.offsets = ([record.offset for record in there], [record.offset for record in here])
        self.ends = ends

    def next_record(self, side: int, offset: int) -> int:
        """Return which record a reader is given that starts there: its number, or how many there are."""
        return bisect.bisect_left(self.offsets[side], offset)


def probe(daemon: Daemon, topic: str, judges: dict[int, Judge], count: int = PROBES) -> dict[str, int]:
    """Ask random questions, half of them each way; return how often each state was answered."""
    chance = random.Random(count)  # noqa: S311 - test data
    states: dict[str, int] = {}
    with ControlClient(Endpoint(daemon.document["daemon"]["rpc"], timeout_seconds=60)) as client:
        for side in (0, 1):
            questions = [
                OffsetQuestion(topic, number, chance.randrange(judges[number].ends[side] + 3))
                for number in chance.choices(sorted(judges), k=count // 2)
            ]
            for asked, found in zip(
                questions, client.translate(daemon.flow_name, questions, reverse=bool(side)), strict=True
            ):
                judge = judges[asked.partition]
                states[found.state] = states.get(found.state, 0) + 1
                answer = found.source_offset if side else found.target_offset
                if asked.offset > judge.ends[side]:
                    assert (answer, found.behind_records) == (None, asked.offset - judge.ends[side]), found
                    continue
                assert answer is not None, found
                assert judge.next_record(1 - side, answer) == judge.next_record(side, asked.offset), found
                if asked.offset == judge.ends[side]:
                    assert judge.ends[1 - side] == answer, found
    return states


def caught_up(east: Kafka, west: Kafka, topic: str, daemon: Daemon) -> dict[int, Judge]:
    """Wait until all is copied; return the judges."""
    there = read_all(east, topic, isolation=Isolation.READ_COMMITTED)

    def all_here() -> dict[int, list[Record]] | None:
        here = read_all(west, topic)
        return here if [[*map(len, here.values())]] == [[*map(len, there.values())]] else None

    here = wait_until("all records are on the target", all_here, 90, every=0.5) or {}
    wait_until("so says the daemon", lambda: daemon.flow()["lag_records"] == 0)
    time.sleep(1)
    ends = {number: (end, bounds(west, topic)[number][1]) for number, (_, end) in bounds(east, topic).items()}
    return {number: Judge(there[number], here[number], ends[number]) for number in there}


async def add_markers(cluster: Kafka, where: TopicPartition, count: int) -> None:
    """Append markers, as a late fill does."""
    made = Cluster(ClusterSpec("west", tuple(parse_address(each) for each in cluster.bootstrap.split(","))))
    await made.open()
    await made.refresh([where.topic])
    leader = made.leader(where)
    assert leader is not None
    connection = await made.connection(leader.node, Purpose.CONTROL)
    assert await write_markers(connection, 900_001, 0, {where: count}) == {where: 0}
    made.close()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("offsets", ["auto", "mapped"])
def test_transactions_are_translated_exactly(east: Kafka, west: Kafka, topic_name: str, lab: Lab, offsets: str) -> None:
    """Committed, aborted and plain, over a killed daemon: at identical offsets, and mapped."""
    create(east, topic_name, PARTITIONS)
    daemon = lab.daemon(east, west, topic_name, offsets=offsets).start()
    for round_number in range(3):
        transactions(east, topic_name, 150, PARTITIONS, f"{topic_name}-{round_number}", seed=round_number)
        produce(east, topic_name, numbered(40, partition=round_number))
        daemon.kill()
        transactions(east, topic_name, 50, PARTITIONS, f"{topic_name}-x{round_number}", seed=10 + round_number)
        daemon.start()
    judges = caught_up(east, west, topic_name, daemon)

    states = probe(daemon, topic_name, judges)

    assert set(states) == {"exact", "not_yet_replicated", "beyond_target_end"}
    assert {one["offsets"] for one in daemon.mirror(topic_name)["partitions"]} == {
        "mapped" if offsets == "mapped" else "identical"
    }


@pytest.mark.long
@pytest.mark.timeout(300)
def test_holes_of_a_compacted_log_are_translated_exactly(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Neither side is cleaned while it is asked about: what stands where has to be known."""
    compacted(east, topic_name, PARTITIONS)
    chance = random.Random(4)  # noqa: S311 - test data
    for _ in range(5):
        items = [
            {"key": b"%d" % chance.randrange(60), "value": b"v" * 40, "partition": chance.randrange(PARTITIONS)}
            for _ in range(1200)
        ]
        produce(east, topic_name, items)
        time.sleep(0.6)
    cleaned(east, topic_name)
    configure(east, topic_name, min_compaction_lag_ms="3600000", max_compaction_lag_ms="9223372036854775807")
    wait_until("the cleaner rests", lambda: _rests(east, topic_name), 60, every=1.0)
    daemon = lab.daemon(east, west, topic_name).start()
    judges = caught_up(east, west, topic_name, daemon)

    states = probe(daemon, topic_name, judges)

    assert set(states) == {"exact", "not_yet_replicated", "beyond_target_end"}
    assert sum(judge.ends[0] for judge in judges.values()) > 2 * sum(len(judge.offsets[0]) for judge in judges.values())


def _rests(cluster: Kafka, topic: str) -> bool:
    before = read_all(cluster, topic)
    time.sleep(3)
    return read_all(cluster, topic) == before


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_markers_too_many_are_translated_exactly(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Appended to the target while no daemon runs: offsets are the source's plus their number from there on.

    One partition takes up a hole of the source for them, and is identical again; another has them twice.
    """
    create(east, topic_name, PARTITIONS)
    daemon = lab.daemon(east, west, topic_name).start()
    for number in range(PARTITIONS):
        produce(east, topic_name, numbered(1000, partition=number))
    wait_copied(east, west, topic_name)
    daemon.stop()
    for number, surplus in ((0, 3), (1, 7), (2, 2)):
        await add_markers(west, TopicPartition(topic_name, number), surplus)
    for number in range(PARTITIONS):
        produce(east, topic_name, numbered(1500, 1000, partition=number))
    daemon.start()
    caught_up(east, west, topic_name, daemon)
    daemon.stop()
    await add_markers(west, TopicPartition(topic_name, 1), 5)
    aborted_records(east, topic_name, 2, 10, f"{topic_name}-hole")
    for number in range(PARTITIONS):
        produce(east, topic_name, numbered(500, 2500, partition=number))
    daemon.start()
    judges = caught_up(east, west, topic_name, daemon)
    assert [one["offsets"] for one in daemon.mirror(topic_name)["partitions"]] == [
        "identical+3",
        "identical+12",
        "identical",
        "identical",
    ]

    assert set(probe(daemon, topic_name, judges)) == {"exact", "not_yet_replicated", "beyond_target_end"}

    daemon.kill()
    daemon.start()
    wait_until("it is attached", lambda: daemon.flow()["lag_records"] == 0)
    assert set(probe(daemon, topic_name, judges, 10_000)) == {"exact", "not_yet_replicated", "beyond_target_end"}


def aborted_records(cluster: Kafka, topic: str, partition: int, count: int, name: str) -> None:
    """Write records of one transaction, and abort it."""
    with transactional(cluster, name) as producer:
        producer.begin_transaction()
        for at in range(count):
            producer.produce(topic, b"%d" % at, partition=partition)
        producer.flush(30)
        producer.abort_transaction(30)


@pytest.mark.long
def test_a_moment_is_told_by_the_source(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Its own index tells: on the target markers that were written later stand where the lookup finds them first.

    Also a moment behind the last record, and records that are not copied yet.
    """
    create(east, topic_name)
    with transactional(east, topic_name) as producer:
        producer.begin_transaction()
        producer.produce(topic_name, b"in a transaction", partition=0)
        producer.commit_transaction(30)
    wait_until("its marker stands", lambda: bounds(east, topic_name)[0] == (0, 2))
    moment = time.time_ns() // 1_000_000 + 1
    produce(east, topic_name, [{"value": b"later", "timestamp": moment}])
    daemon = lab.daemon(east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    wait_until("so says the daemon", lambda: daemon.flow()["lag_records"] == 0)

    assert [looked_up(side, topic_name, moment) for side in (east, west)] == [2, 1], "the target's marker is younger"
    code, (found,), _ = rows(daemon, "--topic", topic_name, "--time", str(moment))
    assert (code, found["source_offset"], found["target_offset"], found["state"]) == (0, 2, 2, "exact")
    at_end = datetime.fromtimestamp((moment + 1) / 1000, UTC).isoformat()
    code, (found,), _ = rows(daemon, "--topic", topic_name, "--partition", "0", "--time", at_end)
    assert (code, found["source_offset"], found["target_offset"], found["state"]) == (0, 3, 3, "exact")
    assert "no record on east is from then or later" in found["detail"]

    assert daemon.cli("flow", "pause", lab.flow, "--wait").returncode == 0
    produce(east, topic_name, [{"value": b"%d" % number, "timestamp": moment + number} for number in (10, 20, 30)])
    code, (found,), remarks = rows(daemon, "--topic", topic_name, "--time", str(moment + 30))
    assert (code, found["source_offset"], found["state"]) == (1, 5, "not_yet_replicated")
    assert (found["target_offset"], found["behind_records"]) == (None, 2)
    assert "copied up to 3" in remarks


def looked_up(cluster: Kafka, topic: str, time_ms: int) -> int:
    """Return what a consumer is told of a moment, by the cluster it reads."""
    with consumer(cluster) as reader:
        (found,) = reader.offsets_for_times([Asked(topic, 0, time_ms)], timeout=30)
        return int(found.offset)
