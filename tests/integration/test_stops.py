"""What the copy cannot carry, or must not: that mirror stops with its reason, and the others go on."""

from __future__ import annotations

import time

import pytest

from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, assert_equal, bounds, create, delete_below, read_all, wait_copied
from tests.integration.load import Load, numbered, produce


def test_each_stop_has_its_reason(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Foreign records behind ours, and a topic that held something before."""
    foreign, strange, fine = (f"{topic_name}-{name}" for name in ("foreign", "strange", "fine"))
    for topic in (foreign, strange, fine):
        create(east, topic)
    for topic in (foreign, strange):
        produce(east, topic, numbered(10))
    create(west, strange)
    produce(west, strange, [{"value": b"was here before"}])
    daemon = lab.daemon(east, west, f"{topic_name}-*").start()
    with Load(east, {fine: 1}, per_second=300) as load:
        wait_copied(east, west, foreign)
        produce(west, foreign, [{"value": b"not a copy"}])
        produce(east, foreign, numbered(10, 10))

        details = {
            topic: daemon.wait_state(topic, "FAULTED", "foreign_writer")["detail"] for topic in (foreign, strange)
        }
        ends = {topic: bounds(west, topic) for topic in details}
        time.sleep(1)

    assert {topic: bounds(west, topic) for topic in details} == ends
    load.check(fine, assert_equal(east, west, fine))
    assert daemon.mirror(fine)["state"] == "ACTIVE"
    assert read_all(west, foreign)[0][:10] == read_all(east, foreign)[0][:10]
    assert [record.value for record in read_all(west, strange)[0]] == [b"was here before"]
    assert "already exists" in details[strange]


@pytest.mark.long
def test_a_paused_flow_overtaken_by_retention(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """What is gone is named in offsets; a pause outlives the daemon and its state directory."""
    behind, fine = f"{topic_name}-behind", f"{topic_name}-fine"
    for topic in (behind, fine):
        create(east, topic)
        produce(east, topic, numbered(10))
    daemon = lab.daemon(east, west, f"{topic_name}-*").start()
    for topic in (behind, fine):
        wait_copied(east, west, topic)
    done = daemon.cli("flow", "pause", lab.flow, "--reason", "test", "--wait")
    assert done.returncode == 0, done.stderr
    assert daemon.cli("flow", "pause", lab.flow).stdout.strip() != ""
    for topic in (behind, fine):
        produce(east, topic, numbered(10, 10))
    delete_below(east, behind, 20)
    produce(east, behind, numbered(5, 20))
    assert daemon.stop() == 0
    for file in sorted(daemon.state_dir.rglob("*"), reverse=True):
        file.unlink()
    daemon.state_dir.rmdir()

    daemon.start()
    daemon.wait_state(fine, "PAUSED")
    time.sleep(1)
    assert daemon.flow()["state"] == "PAUSED"
    assert bounds(west, fine) == {0: (0, 10)}
    done = daemon.cli("flow", "resume", lab.flow, "--wait")
    assert done.returncode == 0, done.stderr

    detail = daemon.wait_state(behind, "FAULTED", "overtaken_by_retention")["detail"]
    assert "10 offsets are gone" in detail
    assert_equal(east, west, fine)
    assert bounds(west, behind) == {0: (0, 10)}
