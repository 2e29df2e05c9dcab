"""What the copy cannot carry, or must not: that mirror stops with its reason, and the others go on."""

from __future__ import annotations

import time

from confluent_kafka import Producer

from tests.integration.harness import (
    Kafka,
    Lab,
    Load,
    assert_equal,
    bounds,
    create,
    delete_below,
    numbered,
    produce,
    read_all,
    wait_copied,
)


def test_each_stop_has_its_reason(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Foreign records, a strange topic, transactions, broker-made times, a start inside a batch."""
    names = ("foreign", "strange", "transactions", "stamped", "inside", "fine")
    foreign, strange, transactions, stamped, inside, fine = (f"{topic_name}-{name}" for name in names)
    for topic in (foreign, strange, transactions, inside, fine):
        create(east, topic)
    create(east, stamped, message_timestamp_type="LogAppendTime")
    for topic in (foreign, strange, stamped):
        produce(east, topic, numbered(10))
    produce(east, inside, numbered(10), **{"linger.ms": 100})
    delete_below(east, inside, 5)
    create(west, strange)
    produce(west, strange, [{"value": b"was here before"}])
    _transactions(east, transactions)
    daemon = lab.daemon(east, west, f"{topic_name}-*").start()
    with Load(east, {fine: 1}, per_second=300) as load:
        wait_copied(east, west, foreign)
        produce(west, foreign, [{"value": b"not a copy"}])
        produce(east, foreign, numbered(10, 10))

        details = {
            topic: daemon.wait_state(topic, "FAULTED", reason)["detail"]
            for topic, reason in (
                (foreign, "foreign_writer"),
                (strange, "foreign_writer"),
                (transactions, "unsupported_batch"),
                (stamped, "unsupported_batch"),
                (inside, "unsupported_batch"),
            )
        }
        ends = {topic: bounds(west, topic) for topic in details}
        time.sleep(1)

    assert {topic: bounds(west, topic) for topic in details} == ends
    load.check(fine, assert_equal(east, west, fine))
    assert daemon.mirror(fine)["state"] == "ACTIVE"
    assert read_all(west, foreign)[0][:10] == read_all(east, foreign)[0][:10]
    assert [record.value for record in read_all(west, strange)[0]] == [b"was here before"]
    assert read_all(west, transactions) == {0: read_all(east, transactions)[0][:5]}
    assert read_all(west, stamped) == {0: []}
    assert "marker" in details[transactions]
    assert "LogAppendTime" in details[stamped]
    assert "already exists" in details[strange]
    assert "inside a batch" in details[inside]


def _transactions(cluster: Kafka, topic: str) -> None:
    """Two committed transactions of five records: markers at offsets 5 and 11."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "log_level": 0, "transactional.id": topic})
    producer.init_transactions(30)
    for _ in range(2):
        producer.begin_transaction()
        for number in range(5):
            producer.produce(topic, b"%d" % number, partition=0)
        producer.commit_transaction(30)


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
