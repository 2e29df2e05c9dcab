"""Topics come, grow, change and go while a daemon runs."""

from __future__ import annotations

import random

import pytest

from tests.integration.harness import Lab
from tests.integration.kafka_client import (
    Kafka,
    assert_equal,
    bounds,
    config_of,
    configure,
    create,
    delete,
    grow,
    partition_count,
    read_all,
    wait_until,
)
from tests.integration.load import Load, numbered, produce


def test_topics_grow_change_and_appear(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """New partitions and new topics from their first record, settings as on the source, large records with them."""
    old, new = f"{topic_name}-old", f"{topic_name}-new"
    create(east, old, 2, retention_ms="3600000", cleanup_policy="delete")
    daemon = lab.daemon(east, west, f"{topic_name}-*").start()
    with Load(east, {old: 2}, per_second=500) as load:
        daemon.wait_state(old, "ACTIVE")
        assert config_of(west, old)["retention.ms"] == "3600000"
        configure(east, old, retention_ms="7200000", max_message_bytes="3000000")
        grow(east, old, 5)
        create(east, new, 3)
        produce(east, new, [item | {"partition": number % 3} for number, item in enumerate(numbered(300))])
        wait_until("the new topic is copied", lambda: partition_count(west, new) == 3 and _ended(west, new, 300))
        wait_until("it has grown", lambda: partition_count(west, old) == 5)
    produce(east, old, numbered(100, partition=4))
    large = random.Random(1).randbytes(2_000_000)  # noqa: S311 - test data
    produce(east, old, [{"value": large, "partition": 3}], **{"message.max.bytes": 3_000_000})

    found = assert_equal(east, west, old)
    load.check(old, {number: found[number] for number in (0, 1)})
    assert [len(found[number]) for number in (2, 3, 4)] == [0, 1, 100]
    assert_equal(east, west, new)
    settings = config_of(west, old)
    assert (settings["retention.ms"], settings["max.message.bytes"]) == ("7200000", "3000000")
    assert daemon.wait_state(old, "ACTIVE")["partitions"][3]["lag_records"] == 0


def _ended(cluster: Kafka, topic: str, records: int) -> bool:
    return sum(end for _, end in bounds(cluster, topic).values()) == records


@pytest.mark.long
def test_topics_that_go_are_named_and_left_alone(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Deleted or re-created, on the source or on the target: that mirror stops, and nothing is made anew silently."""
    gone, again, lost, other, fine = (f"{topic_name}-{name}" for name in ("gone", "again", "lost", "other", "fine"))
    create(east, fine, 2)
    for topic in (gone, again, lost, other):
        create(east, topic, 2)
        produce(east, topic, numbered(50))
    daemon = lab.daemon(east, west, f"{topic_name}-*").start()
    with Load(east, {fine: 2}, per_second=300) as load:
        for topic in (gone, again, lost, other):
            assert_equal(east, west, topic)
        kept = {topic: read_all(west, topic) for topic in (gone, again)}

        delete(east, gone)
        delete(west, lost)
        delete(east, again)
        create(east, again, 2)
        produce(east, again, numbered(20, 1000))
        delete(west, other)
        create(west, other, 2)

        daemon.wait_state(gone, "FAULTED", "source_missing")
        again_now = daemon.wait_state(again, "FAULTED", "source_recreated")
        assert {partition["reason"] for partition in again_now["partitions"]} == {"source_recreated"}
        daemon.wait_state(lost, "FAULTED", "target_missing")
        daemon.wait_state(other, "FAULTED", "target_recreated")
        produce(east, lost, numbered(20, 50))
        produce(east, other, numbered(20, 50))
        daemon.stop()
        daemon.start()
        for topic, reason in (
            (gone, "source_missing"),
            (again, "source_recreated"),
            (lost, "target_missing"),
            (other, "target_recreated"),
        ):
            daemon.wait_state(topic, "FAULTED", reason)

    load.check(fine, assert_equal(east, west, fine))
    assert {topic: read_all(west, topic) for topic in (gone, again)} == kept
    assert partition_count(west, lost) == 0
    assert bounds(west, other) == {0: (0, 0), 1: (0, 0)}
    assert daemon.mirror(fine)["state"] == "ACTIVE"


@pytest.mark.long
def test_a_topic_that_returns_under_its_name(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Deleted, noticed as missing, and created again later: another topic, not a continuation."""
    create(east, topic_name)
    produce(east, topic_name, numbered(5))
    daemon = lab.daemon(east, west, topic_name).start()
    assert_equal(east, west, topic_name)
    kept = read_all(west, topic_name)
    delete(east, topic_name)
    daemon.wait_state(topic_name, "FAULTED", "source_missing")

    create(east, topic_name)
    produce(east, topic_name, numbered(10, 100))

    daemon.wait_state(topic_name, "FAULTED", "source_recreated")
    assert read_all(west, topic_name) == kept
