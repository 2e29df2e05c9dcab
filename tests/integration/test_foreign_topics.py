"""Topics on the target that are not ours, of every shape: nothing of them is changed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.harness import Lab
from tests.integration.kafka_client import (
    Kafka,
    assert_equal,
    bounds,
    config_of,
    configure,
    create,
    delete_below,
    partition_count,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import numbered, produce

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONG_AGO_MS = 1_600_000_000_000
_NOW_MS = time.time_ns() // 1_000_000


def as_they_are(cluster: Kafka, topics: Iterable[str]) -> dict[str, tuple[int, dict[str, str], object, object]]:
    """Return partitions, settings, log bounds and records of topics."""
    return {
        topic: (
            partition_count(cluster, topic),
            config_of(cluster, topic),
            bounds(cluster, topic),
            read_all(cluster, topic),
        )
        for topic in topics
    }


def test_nothing_of_a_foreign_topic_is_changed(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Neither settings nor partitions, whatever the source's topic of that name has; its records stay.

    One that never held a record becomes a mirror, and gets the source's settings only once that is recorded.
    """
    names = ("old", "emptied", "wider", "offset-syncs", "empty", "new")
    old, emptied, wider, syncs, empty, new = (f"{topic_name}-{name}" for name in names)
    for topic, partitions in ((old, 1), (emptied, 1), (wider, 4), (empty, 1)):
        create(west, topic, partitions, replicas=3, retention_ms="-1", min_insync_replicas="2")
    create(west, syncs, 1, cleanup_policy="compact")  # as MirrorMaker 2 keeps its own
    produce(west, syncs, numbered(10))
    produce(west, old, numbered(100, timestamp=_LONG_AGO_MS))
    produce(west, emptied, numbered(5))
    delete_below(west, emptied, 5)
    produce(west, wider, numbered(1, partition=3))
    for topic in (old, emptied, wider, syncs, empty, new):
        create(east, topic, 3, retention_ms="3600000", min_insync_replicas="1")
        produce(east, topic, numbered(10))
    foreign = (old, emptied, wider, syncs)
    before = as_they_are(west, foreign)

    daemon = lab.daemon(east, west, f"{topic_name}*").start()

    for topic in foreign:
        daemon.wait_state(topic, "FAULTED", "foreign_writer")
    for topic in (empty, new):
        assert_equal(east, west, topic)
        assert config_of(west, topic)["retention.ms"] == "3600000"
    assert as_they_are(west, foreign) == before
    log = daemon.log_file.read_text()
    adopted = log.index(f'"topic": "{empty}", "why": "it existed already')
    assert adopted < log.index(f'"topic": "{empty}", "partitions": 3')


@pytest.mark.long
def test_from_and_to_swapped_under_a_running_flow(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """The side that was copied from is not changed at all: not even a topic that never held a record."""
    orders, idle = f"{topic_name}-orders", f"{topic_name}-idle"
    for topic in (orders, idle):
        create(east, topic, 2, min_insync_replicas="1", retention_ms="3600000")
    produce(east, orders, numbered(20))
    settings = {"override": {"retention.ms": "7200000"}}
    daemon = lab.daemon(east, west, orders, idle, topic_configs=settings).start()
    for topic in (orders, idle):
        wait_copied(east, west, topic)
        daemon.wait_state(topic, "ACTIVE")
    before = as_they_are(east, (orders, idle))
    assert config_of(west, orders)["retention.ms"] == "7200000"

    daemon.document["flows"][lab.flow] |= {"from": "west", "to": "east"}
    daemon.write()
    daemon.reload()

    for topic in (orders, idle):
        assert "swapped" in json.dumps(daemon.wait_state(topic, "FAULTED", "target_taken"))
        refused = daemon.cli("mirror", "resolve", lab.flow, topic, "--how", "recreate", "--dry-run")
        assert refused.returncode == 2, refused.stdout
    assert as_they_are(east, (orders, idle)) == before


@pytest.mark.long
def test_two_topics_renamed_to_one(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """The first one is copied, the second named and left out; neither holds up others, also not after a restart."""
    first, second, fine = (f"{topic_name}-{name}" for name in ("1.orders", "2.orders", "fine"))
    there = f"{topic_name}-orders"
    for topic in (first, second, fine):
        create(east, topic)
        produce(east, topic, numbered(10))
    rename = {"regex": r"(.*)-\d\.orders", "to": r"\1-orders"}
    topics = {"include": [f"{topic_name}-*"], "rename": rename}
    daemon = lab.daemon(east, west, topics=topics).start()
    assert_equal(east, west, first, to=there)
    daemon.wait_state(second, "FAULTED", "target_taken")
    daemon.stop()

    produce(east, first, numbered(10, 10))
    produce(east, fine, numbered(10, 10))
    daemon.start()

    assert_equal(east, west, first, to=there)
    assert_equal(east, west, fine)
    refused = daemon.wait_state(second, "FAULTED", "target_taken")
    assert first in json.dumps(refused)
    resolved = daemon.cli("mirror", "resolve", lab.flow, second, "--how", "recreate", "--dry-run")
    assert resolved.returncode == 2, resolved.stdout
    assert "rename" in resolved.stderr


def test_accepting_tells_what_it_changes(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Each setting and the partitions, from and to; nothing is changed by asking."""
    create(east, topic_name, 3, retention_ms="3600000", min_insync_replicas="1")
    produce(east, topic_name, [item | {"timestamp": _NOW_MS + at} for at, item in enumerate(numbered(60))])
    create(west, topic_name, 1, replicas=3, retention_ms="-1", min_insync_replicas="2")
    produce(west, topic_name, [item | {"timestamp": _NOW_MS + at} for at, item in enumerate(numbered(40))])
    before = as_they_are(west, [topic_name])
    daemon = lab.daemon(east, west, topic_name).start()
    daemon.wait_state(topic_name, "FAULTED", "foreign_writer")
    words = ("mirror", "resolve", lab.flow, topic_name, "--how", "accept", "-o", "json")

    told = daemon.cli(*words, "--dry-run")

    assert told.returncode == 0, told.stderr
    steps = json.loads(told.stdout)["steps"]
    assert f"{topic_name}: partitions: 1 -> 3" in steps
    assert f"{topic_name}: retention.ms: -1 -> 3600000" in steps
    assert f"{topic_name}: min.insync.replicas: 2 -> 1" in steps
    assert as_they_are(west, [topic_name]) == before
    done = daemon.cli(*words, "--yes", "--wait")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == steps
    wait_until("its settings follow", lambda: config_of(west, topic_name)["retention.ms"] == "3600000")
    wait_until("all is copied", lambda: [end for _, end in bounds(west, topic_name).values()] == [60, 0, 0])


@pytest.mark.long
def test_mirrors_of_another_flow_are_left_alone(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Their settings stay those of the flow that feeds them, also after both were started again."""
    create(east, topic_name, 2, retention_ms="3600000")
    produce(east, topic_name, numbered(10))
    first = lab.daemon(east, west, topic_name).start()
    assert_equal(east, west, topic_name)
    before = as_they_are(west, [topic_name])
    feeds, lab.flow = lab.flow, f"{lab.flow}-too"
    settings = {"override": {"retention.ms": "7200000"}}
    second = lab.daemon(east, west, topic_name, topic_configs=settings).start()
    assert feeds in json.dumps(second.wait_state(topic_name, "FAULTED", "other_owner"))
    assert as_they_are(west, [topic_name]) == before
    produce(east, topic_name, numbered(10, 10))
    assert_equal(east, west, topic_name)
    assert first.mirror(topic_name)["state"] == "ACTIVE"


@pytest.mark.long
def test_a_queue_of_an_application_gets_no_dead_letters(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """It has the name that records would be set aside under: nothing of it is changed, and nothing is given up."""
    create(east, topic_name, max_message_bytes="3000000")
    produce(east, topic_name, [{"key": b"large", "value": b"x" * 100_000}], **{"message.max.bytes": 3_000_000})
    configure(east, topic_name, max_message_bytes="20000")
    queue = f"{topic_name}.dead-letter"
    create(west, queue, max_message_bytes="5000")
    produce(west, queue, numbered(3))
    before = as_they_are(west, [queue])
    daemon = lab.daemon(east, west, topic_name).start()
    daemon.wait_state(topic_name, "FAULTED", "record_too_large")

    refused = daemon.cli("mirror", "resolve", lab.flow, topic_name, "--how", "skip", "--yes")

    assert refused.returncode == 3
    assert "is not a dead-letter topic" in refused.stderr
    assert as_they_are(west, [queue]) == before
    assert daemon.mirror(topic_name)["reason"] == "record_too_large"
