"""Both sides are written to under the same names, and each has all records once: none comes back, none is lost."""

from __future__ import annotations

import functools
import json
import random
import subprocess
from contextlib import ExitStack

import pytest
from confluent_kafka import Producer

from replicator.model.spec import Isolation
from tests.integration.corpus.raw import write_as_only_producer
from tests.integration.corpus.transactional import transactional
from tests.integration.harness import REPLICATOR, Daemon, Lab
from tests.integration.kafka_client import Kafka, Record, configure, create, read_all, wait_until
from tests.integration.load import Load, numbered, produce

_PARTITIONS = 3

Logs = dict[int, list[Record]]


def there_and_back(lab: Lab, east: Kafka, west: Kafka, topic: str) -> tuple[Daemon, Daemon]:
    """Make a daemon for each direction; neither is started."""
    made = []
    for name, (source, target) in {"to-west": (east, west), "to-east": (west, east)}.items():
        daemon = lab.daemon(source, target, topic, loop_guard="origin", groups={"include": []})
        daemon.document["flows"] = {f"{lab.flow}-{name}": daemon.document["flows"][lab.flow]}
        daemon.write()
        made.append(daemon)
    return made[0], made[1]


def verified(daemon: Daemon) -> subprocess.CompletedProcess[str]:
    """Compare what one direction copied, from outside of the daemon."""
    flow = next(iter(daemon.document["flows"]))
    command = [str(REPLICATOR), "verify", flow, "-c", str(daemon.file), "--wait", "30s", "-o", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


def is_active(daemon: Daemon) -> bool:
    """Return whether its flow copies."""
    return bool(daemon.flow()["state"] == "ACTIVE")


def contents(records: list[Record]) -> list[tuple[object, ...]]:
    """Return records without what each cluster gives them itself."""
    return [each[2:] for each in records]


def own_and_others(logs: Logs, own: dict[int, set[int]]) -> tuple[Logs, Logs]:
    """Return the records at offsets that applications wrote, and all others."""
    return (
        {number: [each for each in records if each.offset in own[number]] for number, records in logs.items()},
        {number: [each for each in records if each.offset not in own[number]] for number, records in logs.items()},
    )


def assert_each_once(east: Kafka, west: Kafka, topic: str, loads: tuple[Load, Load], before: dict[int, int]) -> None:
    """Each side holds its own records where they were acknowledged, and in time the other's, once and in order."""
    written = [
        {number: {*range(before[at]), *load.acked[topic, number]} for number in range(_PARTITIONS)}
        for at, load in enumerate(loads)
    ]

    def apart() -> tuple[Logs, Logs, Logs, Logs]:
        return (
            *own_and_others(read_all(east, topic), written[0]),
            *own_and_others(read_all(west, topic), written[1]),
        )

    def is_level() -> bool:
        ours, theirs_here, theirs, ours_there = apart()
        return all(
            len(ours[number]) <= len(ours_there[number]) and len(theirs[number]) <= len(theirs_here[number])
            for number in range(_PARTITIONS)
        )

    wait_until("each side holds what the other wrote", is_level, 90, every=0.5)
    ours, theirs_here, theirs, ours_there = apart()
    for number in range(_PARTITIONS):
        assert len(ours[number]) > 100
        assert len(theirs[number]) > 100
        assert contents(ours_there[number]) == contents(ours[number])
        assert contents(theirs_here[number]) == contents(theirs[number])


@pytest.mark.long
@pytest.mark.parametrize("rounds", [1, 3])
def test_both_sides_are_written_to_and_no_record_comes_back(
    east: Kafka, west: Kafka, topic_name: str, lab: Lab, rounds: int
) -> None:
    """Each side had records of its own before; daemons are killed under load from both sides."""
    for cluster, name, count in ((east, b"east", 40), (west, b"west", 70)):
        create(cluster, topic_name, _PARTITIONS)
        for number in range(_PARTITIONS):
            produce(cluster, topic_name, numbered(count, key=name, partition=number))
    daemons = there_and_back(lab, east, west, topic_name)
    with ExitStack() as stack:
        loads = tuple(
            stack.enter_context(Load(cluster, {topic_name: _PARTITIONS}, per_second=300, seed=seed))
            for cluster, seed in ((east, 1), (west, 2))
        )
        for daemon in daemons:
            daemon.start()
        for daemon in daemons * rounds:
            wait_until("it copies under load", functools.partial(is_active, daemon), 60)
            daemon.kill()
            daemon.start()

    assert_each_once(east, west, topic_name, (loads[0], loads[1]), {0: 40, 1: 70})

    for daemon in daemons:
        told = verified(daemon)
        assert told.returncode == 0, told.stdout + told.stderr
        assert json.loads(told.stdout)["topics"][0]["records"] > 300
        assert {one["offsets"] for one in daemon.mirror(topic_name)["partitions"]} == {"mapped"}
        refused = daemon.cli("switchover", daemon.flow()["flow"], "--yes", "--producers-stopped")
        assert refused.returncode != 0
        assert "loop_guard: origin" in refused.stderr + refused.stdout


@pytest.mark.long
def test_what_is_wrong_between_records_of_others_is_found(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """A record that is doubled, and one that is another than the source's; records of others are neither."""
    for cluster in (east, west):
        create(cluster, topic_name)
    daemon, _ = there_and_back(lab, east, west, topic_name)
    produce(west, topic_name, numbered(20, key=b"west"))
    produce(east, topic_name, numbered(30, key=b"east"))
    daemon.start()
    wait_until("it copies", lambda: len(read_all(west, topic_name)[0]) == 50)
    produce(west, topic_name, numbered(20, 20, key=b"west"))
    assert daemon.stop() == 0
    assert verified(daemon).returncode == 0

    write_as_only_producer(west, topic_name, b"once more")
    told = json.loads(verified(daemon).stdout)["topics"][0]
    assert told["differences"] == {"extra_on_target": 1}, told

    produce(east, topic_name, [{"value": b"what it should be"}])
    told = json.loads(verified(daemon).stdout)["topics"][0]
    assert sum(told["differences"].values()) == 1, told


@pytest.mark.long
def test_transactions_of_both_sides_cross(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Committed ones arrive once and in order, aborted ones never, whatever the other side writes in between."""
    for cluster in (east, west):
        create(cluster, topic_name, _PARTITIONS)
    daemons = there_and_back(lab, east, west, topic_name)
    for daemon in daemons:
        daemon.start()
    chance = random.Random(4)  # noqa: S311 - test data
    with ExitStack() as stack:
        producers = {
            name: stack.enter_context(transactional(cluster, f"{topic_name}-{name}"))
            for name, cluster in (("east", east), ("west", west))
        }
        for turn in range(120):
            for name, producer in producers.items():
                _transaction(producer, topic_name, name, turn, aborts=chance.random() < 0.3)
            if turn in {30, 70}:
                daemons[turn // 70].kill()
                daemons[turn // 70].start(ready_seconds=0)

    def by_side(cluster: Kafka) -> dict[tuple[int, bytes | None], list[tuple[object, ...]]]:
        logs = read_all(cluster, topic_name, isolation=Isolation.READ_COMMITTED)
        return {
            (number, name): contents([each for each in records if each.key == name])
            for number, records in logs.items()
            for name in (b"east", b"west")
        }

    wait_until("both sides hold the same", lambda: by_side(east) == by_side(west), 90, every=0.5)
    found = by_side(east)
    assert all(len(records) > 20 for records in found.values())
    assert not any(b"aborted" in bytes(str(each), "ascii") for records in found.values() for each in records)
    for daemon in daemons:
        told = verified(daemon)
        assert told.returncode == 0, told.stdout + told.stderr


def _transaction(producer: Producer, topic: str, name: str, turn: int, *, aborts: bool) -> None:
    producer.begin_transaction()
    for number in range(_PARTITIONS):
        producer.produce(topic, f"{turn}-{'aborted' if aborts else 'kept'}".encode(), name.encode(), number)
    producer.flush(30)
    if aborts:
        producer.abort_transaction(30)
    else:
        producer.commit_transaction(30)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_what_cannot_be_told_apart_is_refused(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """A compacted topic, and a target that gives records times of its own, stop with the reason; mended, it goes on."""
    create(east, topic_name, cleanup_policy="compact")
    create(west, topic_name)
    daemon, _ = there_and_back(lab, east, west, topic_name)
    daemon.start(ready_seconds=0)
    wait_until("it stops", lambda: daemon.mirror(topic_name).get("reason") == "not_mappable")
    configure(west, topic_name, message_timestamp_type="LogAppendTime")
    configure(east, topic_name, cleanup_policy="delete")
    wait_until("it stops", lambda: daemon.mirror(topic_name).get("reason") == "target_refused", 90)
    configure(west, topic_name, message_timestamp_type="CreateTime")
    produce(east, topic_name, numbered(5))
    wait_until("it copies", lambda: len(read_all(west, topic_name)[0]) == 5, 120)
