"""What a daemon does and says about odd logs: fills, open transactions, seeds. Equality of every shape: test_corpus."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer

from replicator.devkit import Cluster, ensure_distribution
from replicator.model.spec import Isolation
from tests.integration.conftest import MakeCluster
from tests.integration.corpus.judge import Log, same_records
from tests.integration.corpus.transactional import transactional, transactions
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import (
    Kafka,
    assert_equal,
    bounds,
    config_of,
    configure,
    create,
    delete_below,
    leader,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import numbered, produce


def quiet_and_equal(source: Kafka, target: Kafka, topic: str, daemon: Daemon) -> Log:
    """Compare, and check that the status and `verify` agree."""
    found = same_records(source, target, topic)
    wait_until("the status agrees", lambda: daemon.flow()["lag_records"] == 0)
    assert daemon.mirror(topic)["state"] == "ACTIVE"
    return found


def test_transactions_committed_and_aborted(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Markers and aborted records are filled, also at the very end; before and while the daemon runs."""
    create(east, topic_name, 4)
    transactions(east, topic_name, 20, 4, f"{topic_name}-a")
    daemon = lab.daemon(east, west, topic_name).start()
    transactions(east, topic_name, 20, 4, f"{topic_name}-b", seed=2)
    produce(east, topic_name, numbered(50, partition=1))

    found = quiet_and_equal(east, west, topic_name, daemon)

    ends = {number: end for number, (_, end) in bounds(east, topic_name).items()}
    assert sum(map(len, found.values())) < sum(ends.values())
    assert daemon.metric("replicator_filled_offsets_total") == sum(ends.values()) - sum(map(len, found.values()))


@contextmanager
def held_up(cluster: Kafka, topic: str) -> Iterator[Producer]:
    """Write five records, one of a transaction that stays open, and five behind it; give the transaction's producer."""
    with transactional(cluster, topic) as producer:
        produce(cluster, topic, numbered(5))
        producer.begin_transaction()
        producer.produce(topic, b"open", partition=0)
        producer.flush(30)
        produce(cluster, topic, numbered(5, 5))
        yield producer


def test_an_open_transaction_holds_up_what_is_behind_it(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Nothing above the last stable offset is copied; all of it once the transaction has ended."""
    create(east, topic_name)
    daemon = lab.daemon(east, west, topic_name)
    with held_up(east, topic_name) as producer:
        daemon.start()
        wait_until("what is stable is copied", lambda: bounds(west, topic_name)[0][1] == 5)
        time.sleep(1)
        assert bounds(west, topic_name)[0][1] == 5
        producer.abort_transaction(30)

    assert len(quiet_and_equal(east, west, topic_name, daemon)[0]) == 10


def test_uncommitted_records_are_copied_if_asked_for(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Aborted ones and those of an open transaction, as plain records at their offsets; markers become fills."""
    create(east, topic_name, 2)
    daemon = lab.daemon(east, west, topic_name, isolation="read_uncommitted").start()
    transactions(east, topic_name, 30, 2, f"{topic_name}-a")
    with transactional(east, f"{topic_name}-open") as producer:
        producer.begin_transaction()
        producer.produce(topic_name, b"open", partition=0)
        producer.flush(30)

        found = assert_equal(east, west, topic_name)
        producer.abort_transaction(30)

    assert b"open" in {record.value for record in found[0]}
    assert sum(map(len, found.values())) > sum(
        map(len, read_all(east, topic_name, isolation=Isolation.READ_COMMITTED).values())
    )
    wait_copied(east, west, topic_name)
    assert daemon.mirror(topic_name)["state"] == "ACTIVE"


@pytest.mark.long
def test_a_compacted_topic_that_starts_above_0(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Seeded first, compacted afterwards."""
    create(east, topic_name, 2)
    for partition in range(2):
        produce(east, topic_name, numbered(30, partition=partition))
        delete_below(east, topic_name, 20 + partition, partition)
    configure(east, topic_name, cleanup_policy="compact")
    daemon = lab.daemon(east, west, topic_name).start()

    found = quiet_and_equal(east, west, topic_name, daemon)

    assert [records[0].offset for records in found.values()] == [20, 21]
    wait_until("it is compacted", lambda: config_of(west, topic_name)["cleanup.policy"] == "compact")


def kafka_transactions(*words: str) -> list[list[str]]:
    """Run Kafka's own tool; return the words of each line it prints."""
    command = ensure_distribution().command("org.apache.kafka.tools.TransactionsCommand", *words)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.long
def test_an_open_transaction_is_told_and_the_command_that_is_shown_ends_it(
    east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """After ten seconds, with the producer and the offset that Kafka's own tool names."""
    create(east, topic_name)
    daemon = lab.daemon(east, west, topic_name)
    with held_up(east, topic_name) as producer:
        daemon.start()
        mirror = daemon.wait_state(topic_name, "ACTIVE", "open_transaction", 30)

        here = ("--topic", topic_name, "--partition", "0")
        described = kafka_transactions("--bootstrap-server", east.bootstrap, "describe-producers", *here)
        (producer_id,) = (line[0] for line in described if line and line[-1] == "5")
        detail = mirror["detail"]
        assert f"open transaction of producer id {producer_id} since" in detail
        assert f"(offset 5) on {topic_name}-0; records after it wait" in detail
        assert 10 <= daemon.metric("replicator_open_transaction_seconds") < 20
        assert f"{topic_name}-0 ACTIVE: open_transaction" in daemon.cli("flow", "status").stdout

        kafka_transactions(*shlex.split(detail.partition("kafka-transactions.sh ")[2]))
        wait_until("nothing waits any more", lambda: bounds(west, topic_name)[0][1] >= 11)
        wait_until("nor says so", lambda: daemon.mirror(topic_name)["reason"] is None)
        assert daemon.mirror(topic_name)["partitions"][0]["open_transaction_seconds"] is None
        wait_until("the log says so too", lambda: "records wait no longer" in daemon.log_tail())
        assert daemon.log_tail().count("records wait") == 2
        producer.abort_transaction(30)

    assert len(quiet_and_equal(east, west, topic_name, daemon)[0]) == 10


@pytest.mark.long
def test_two_daemons_and_a_killed_leader_under_transactions(
    make_cluster: MakeCluster, topic_name: str, lab: Lab
) -> None:
    """Unaware of each other, while the target's leader is killed and comes back."""
    source: Cluster = make_cluster()
    target: Cluster = make_cluster(brokers=3)
    create(source, topic_name, 4)
    first = lab.daemon(source, target, topic_name).start()
    second = lab.daemon(source, target, topic_name).start()
    for round_number in range(4):
        transactions(source, topic_name, 40, 4, f"{topic_name}-{round_number}", seed=round_number)
        node = leader(target, topic_name, round_number % 4)
        target.kill_broker(node)
        transactions(source, topic_name, 20, 4, f"{topic_name}-x{round_number}", seed=20 + round_number)
        target.start_broker(node)
        (first, second)[round_number % 2].kill()
        (first, second)[round_number % 2].start()

    same_records(source, target, topic_name, 180)
