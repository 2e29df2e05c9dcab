"""Faults resolved by an operator on real brokers: the loss is told first, and the copy goes on as was said."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import (
    Kafka,
    Record,
    assert_equal,
    bounds,
    config_of,
    configure,
    create,
    delete,
    delete_below,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import numbered, produce


def resolve(daemon: Daemon, flow: str, topic: str, how: str) -> list[dict[str, Any]]:
    """Look first, then order it; return the losses that were told."""
    words = ("mirror", "resolve", flow, topic, "--how", how, "-o", "json")
    told = daemon.cli(*words, "--dry-run")
    assert told.returncode == 0, told.stderr
    done = daemon.cli(*words, "--yes", "--reason", "test", "--wait")
    assert done.returncode == 0, done.stderr
    before, after = json.loads(told.stdout), json.loads(done.stdout)
    assert (before["status"], after["status"]) == ("would_resolve", "resolved")
    assert before["losses"] == after["losses"]
    again = daemon.cli(*words, "--yes")
    assert json.loads(again.stdout)["status"] == "already_resolved", again.stdout
    losses: list[dict[str, Any]] = after["losses"]
    return losses


def ranges(losses: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    """Return the losses as (partition, first, end)."""
    return [(loss["partition"], loss["first"], loss["end"]) for loss in losses]


def values(cluster: Kafka, topic: str, partition: int = 0) -> list[bytes | None]:
    """Return the values of a partition in order."""
    return [record.value for record in read_all(cluster, topic)[partition]]


def copied_to(cluster: Kafka, topic: str, partition: int, end: int) -> bool:
    """Return whether a partition ends there."""
    return bounds(cluster, topic)[partition][1] == end


def paused_with_gap(daemon: Daemon, lab: Lab, east: Kafka, west: Kafka, topics: list[str]) -> None:
    """Let each topic's source lose ten records that were not copied."""
    for topic in topics:
        wait_copied(east, west, topic)
    assert daemon.cli("flow", "pause", lab.flow, "--wait").returncode == 0
    for topic in topics:
        produce(east, topic, numbered(15, 10))
        delete_below(east, topic, 20)
    assert daemon.cli("flow", "resume", lab.flow).returncode == 0


@pytest.mark.long
def test_a_gap_is_skipped_or_the_topic_seeded_anew(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Skipped offsets are filled, so all others stay the same; recreated, a mirror begins at the source's start."""
    skipped, seeded, fine = (f"{topic_name}-{name}" for name in ("skipped", "seeded", "fine"))
    for topic in (skipped, seeded, fine):
        create(east, topic, 2)
        produce(east, topic, numbered(10))
    daemon = lab.daemon(east, west, f"{topic_name}-*").start()
    paused_with_gap(daemon, lab, east, west, [skipped, seeded])
    for topic in (skipped, seeded):
        daemon.wait_state(topic, "FAULTED", "overtaken_by_retention")
        produce(east, topic, numbered(5, partition=1))  # the other partition goes on
        wait_until("partition 1 goes on", functools.partial(copied_to, west, topic, 1, 5))

    assert ranges(resolve(daemon, lab.flow, skipped, "skip")) == [(0, 10, 20)]
    assert ranges(resolve(daemon, lab.flow, seeded, "reseed")) == [(0, 0, 10)]

    wait_copied(east, west, skipped)
    expected = read_all(east, skipped)
    here = read_all(west, skipped)
    assert here[0][10:] == expected[0]
    assert [record.offset for record in here[0]] == [*range(10), *range(20, 25)]
    assert here[1] == expected[1]
    assert_equal(east, west, seeded)
    assert bounds(west, seeded)[0] == (20, 25)
    produce(east, fine, numbered(5, 10))
    assert_equal(east, west, fine)
    assert daemon.mirror(skipped)["partitions"][0]["offsets"] == "identical"


@pytest.mark.long
def test_a_source_that_was_created_again(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Appended behind what is there, with mapped offsets; or the target topic begins anew as well."""
    appended, anew = f"{topic_name}-appended", f"{topic_name}-anew"
    for topic in (appended, anew):
        create(east, topic)
        produce(east, topic, numbered(10))
    daemon = lab.daemon(east, west, f"{topic_name}-*").start()
    for topic in (appended, anew):
        wait_copied(east, west, topic)
        delete(east, topic)
    for topic in (appended, anew):
        daemon.wait_state(topic, "FAULTED")
        create(east, topic)
        produce(east, topic, [{"value": b"new %d" % at} for at in range(5)])
        daemon.wait_state(topic, "FAULTED", "source_recreated")

    assert ranges(resolve(daemon, lab.flow, appended, "accept")) == [(0, 0, 10)]
    assert ranges(resolve(daemon, lab.flow, anew, "recreate")) == [(0, 0, 10)]

    wait_until("appended", lambda: bounds(west, appended)[0] == (0, 15))
    assert values(west, appended)[10:] == values(east, appended)
    assert daemon.mirror(appended)["partitions"][0]["offsets"] == "mapped"
    assert_equal(east, west, anew)
    daemon.kill()
    produce(east, appended, [{"value": b"newer"}])
    daemon.start()
    wait_until("still appended", lambda: bounds(west, appended)[0] == (0, 16))
    assert values(west, appended)[10:] == values(east, appended)


@pytest.mark.long
def test_a_target_that_is_gone_is_filled_again(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Never by itself: its consumers may not notice."""
    create(east, topic_name)
    produce(east, topic_name, numbered(10))
    daemon = lab.daemon(east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    delete(west, topic_name)
    produce(east, topic_name, numbered(10, 10))
    daemon.wait_state(topic_name, "FAULTED", "target_missing")

    assert resolve(daemon, lab.flow, topic_name, "reseed") == []

    assert_equal(east, west, topic_name)


@pytest.mark.long
def test_a_foreign_record_is_kept(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """The copy goes on behind it, with mapped offsets, and exactly once."""
    create(east, topic_name)
    produce(east, topic_name, numbered(10))
    daemon = lab.daemon(east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    produce(west, topic_name, [{"value": b"not a copy"}])
    produce(east, topic_name, numbered(10, 10))
    daemon.wait_state(topic_name, "FAULTED", "foreign_writer")
    end = bounds(west, topic_name)[0][1]

    losses = resolve(daemon, lab.flow, topic_name, "accept")

    assert [(loss["first"], loss["end"]) for loss in losses] == [(0, end)]
    wait_until("the rest is copied", lambda: len(values(west, topic_name)) == 21)
    here = values(west, topic_name)
    assert [value for value in here if value != b"not a copy"] == values(east, topic_name)


def same_content(records: list[Record]) -> list[tuple[Any, ...]]:
    """Return records without their offsets."""
    return [record[2:] for record in records]


def test_a_topic_that_another_tool_filled_is_taken_over(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Its place is proven by comparing records: offsets differ, nothing is copied twice and nothing is left out."""
    filled, other = f"{topic_name}-filled", f"{topic_name}-other"
    for topic in (filled, other):
        create(east, topic, 2)
        for partition in range(2):
            produce(east, topic, numbered(100, partition=partition))
    # As MirrorMaker does it: from some record on, with the source's times, at offsets of its own.
    create(west, filled, 2)
    for partition, records in read_all(east, filled).items():
        copied = [
            {"key": each.key, "value": each.value, "timestamp": each.timestamp, "partition": partition}
            for each in records[10 : 60 + partition]
        ]
        produce(west, filled, copied)
    create(west, other, 2)
    produce(west, other, [{"value": b"of somebody else"}])
    daemon = lab.daemon(east, west, f"{topic_name}-*").start()
    for topic in (filled, other):
        daemon.wait_state(topic, "FAULTED", "foreign_writer")

    assert ranges(resolve(daemon, lab.flow, filled, "accept")) == [(0, 0, 50), (1, 0, 51)]
    refused = daemon.cli("mirror", "resolve", lab.flow, other, "--how", "accept", "--yes")

    assert refused.returncode == 3
    assert "no record of the source proves" in refused.stderr
    for partition in range(2):
        produce(east, filled, numbered(20, 100, partition=partition))
    wait_until("all is copied", lambda: [end for _, end in bounds(west, filled).values()] == [110, 110])
    for partition, records in read_all(east, filled).items():
        assert same_content(read_all(west, filled)[partition]) == same_content(records[10:])


@pytest.mark.long
def test_records_too_large_are_set_aside(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """With their origin, in a topic of their own that takes them; everything else keeps its offset."""
    create(east, topic_name, max_message_bytes="3000000")
    produce(east, topic_name, numbered(5))
    produce(east, topic_name, [{"key": b"large", "value": b"x" * 100_000}], **{"message.max.bytes": 3_000_000})
    produce(east, topic_name, numbered(5, 6))
    configure(east, topic_name, max_message_bytes="20000")  # the target gets what the source takes by now
    daemon = lab.daemon(east, west, topic_name).start()
    daemon.wait_state(topic_name, "FAULTED", "record_too_large")

    assert ranges(resolve(daemon, lab.flow, topic_name, "skip")) == [(0, 5, 6)]

    wait_copied(east, west, topic_name)
    assert [record.offset for record in read_all(west, topic_name)[0]] == [*range(5), *range(6, 11)]
    (aside,) = read_all(west, f"{topic_name}.dead-letter")[0]
    assert (aside.key, aside.value) == (b"large", b"x" * 100_000)
    assert dict(aside.headers)["replicator.offset"] == b"5"
    assert int(config_of(west, f"{topic_name}.dead-letter")["max.message.bytes"]) > 100_000
