"""Applications that work exactly once change regions with the flow: each input is worked on once, in sum over both."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer

from replicator.model.spec import Isolation
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import QUIET, Kafka, assert_same, create, read_all, wait_copied, wait_until
from tests.integration.load import produce
from tests.integration.streams.job import StreamsJob
from tests.integration.test_switch_kills import answers
from tests.integration.test_switchover import PARTITIONS, both_ways, last_switch, order

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

COUNT = 3000


class Upper:
    """A consume-transform-produce application: reads, writes what came of it and commits, in one transaction.

    Attributes:
        hung: What it wrote in a transaction that it neither committed nor aborted.
    """

    def __init__(self, cluster: Kafka, topics: tuple[str, str], name: str) -> None:
        self._input, self._output = topics
        self._consumer = Consumer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "group.id": name,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
                "isolation.level": "read_committed",
                **QUIET,
            }
        )
        self._producer = Producer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "transactional.id": name,
                "transaction.timeout.ms": 10_000,
                **QUIET,
            }
        )
        self._stopping = threading.Event()
        self._dies = False
        self._lost = False
        self.hung: list[bytes] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._producer.init_transactions(60)
        self._consumer.subscribe([self._input])
        self._thread.start()

    def die(self) -> None:
        """End it inside a transaction, as a kill would: neither committed nor aborted by anybody."""
        self.hang()
        self._consumer.close()  # else its background thread would go on as a member of the group

    def hang(self) -> None:
        """Let it stand still inside a transaction, still a member of its group."""
        self._dies = True
        self._thread.join(30)

    def lose(self) -> None:
        """End it after its cluster died, wherever it is."""
        self._lost = True
        self._stopping.set()
        self._producer.purge()
        self._thread.join(90)
        assert not self._thread.is_alive()
        self._consumer.close()

    def stop(self) -> None:
        """End it between transactions."""
        self._stopping.set()
        self._thread.join(30)
        self._consumer.close()

    def _run(self) -> None:
        try:
            self._work()
        except KafkaException:
            if not self._lost:
                raise

    def _work(self) -> None:
        while not self._stopping.is_set():
            messages = self._consumer.consume(50, 0.2)
            if not messages:
                continue
            self._producer.begin_transaction()
            for message in messages:
                assert message.error() is None, message.error()
                value = message.value() or b""
                self._producer.produce(self._output, b"done " + value, partition=message.partition() or 0)
            if self._dies:
                self.hung = [b"done " + (message.value() or b"") for message in messages]
                self._producer.flush(10)
                return
            positions = self._consumer.position(self._consumer.assignment())
            self._producer.send_offsets_to_transaction(
                [one for one in positions if one.offset >= 0], self._consumer.consumer_group_metadata(), 60
            )
            self._producer.commit_transaction(60)


@contextmanager
def writing(cluster: Kafka, topic: str, first: int, count: int) -> Iterator[None]:
    """Write numbers in the background; they are all there at the end of the block."""
    writer = threading.Thread(target=_write, args=(cluster, topic, first, count))
    writer.start()
    yield
    writer.join(120)


def _write(cluster: Kafka, topic: str, first: int, count: int) -> None:
    for begin in range(first, first + count, 100):
        produce(
            cluster,
            topic,
            (
                {"value": b"%d" % at, "partition": at % PARTITIONS}
                for at in range(begin, min(begin + 100, first + count))
            ),
        )
        time.sleep(0.02)


def committed(cluster: Kafka, topic: str) -> list[bytes]:
    """Return the values that a committed reader sees."""
    found = read_all(cluster, topic, isolation=Isolation.READ_COMMITTED)
    return [record.value or b"" for records in found.values() for record in records]


def same(source: Kafka, target: Kafka, topic: str) -> None:
    """Compare what a committed reader sees: the old source still holds what was aborted on it before the cut."""
    wait_copied(source, target, topic)
    assert_same(
        topic,
        read_all(source, topic, isolation=Isolation.READ_COMMITTED),
        read_all(target, topic, isolation=Isolation.READ_COMMITTED),
    )


def changed_sides(daemon: Daemon, flow: str) -> None:
    """Switch over, and check that nothing was lost and every group is where it was."""
    wait_until("it answers", lambda: answers(daemon, flow))  # it may not be up yet
    order(daemon, "switchover", flow, "--producers-stopped", "--reverse", "--yes")
    switch = last_switch(daemon, flow)
    assert (switch["known_loss"], switch["groups_inexact"]) == (0, 0), switch
    assert switch["groups_exact"] >= 1


def test_a_transactional_application(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """It dies inside a transaction on one side, and goes on on the other: every input comes out once."""
    topics = f"{topic_name}-in", f"{topic_name}-out"
    for topic in topics:
        create(east, topic, PARTITIONS)
    daemon = both_ways(lab, east, west, f"{topic_name}-*").start(ready_seconds=0)
    one = Upper(east, topics, f"{topic_name}-app")
    one.start()
    with writing(east, topics[0], 0, COUNT):
        wait_until("it works", lambda: len(committed(east, topics[1])) > COUNT // 4)
        one.die()
    changed_sides(daemon, lab.flow)
    other = Upper(west, topics, f"{topic_name}-app")
    other.start()
    with writing(west, topics[0], COUNT, COUNT):
        pass
    wait_until("it is through", lambda: len(committed(west, topics[1])) >= 2 * COUNT, 120)
    other.stop()
    assert Counter(committed(west, topics[1])) == Counter(b"done %d" % at for at in range(2 * COUNT))
    for topic in topics:
        same(west, east, topic)
    changed_sides(daemon, f"{lab.flow}-back")
    assert Counter(committed(east, topics[1])) == Counter(b"done %d" % at for at in range(2 * COUNT))


def sums(cluster: Kafka, output: str) -> tuple[int, dict[bytes, tuple[int, int]]]:
    """Return how many results there are, and the last one of each digit: count and sum."""
    found = read_all(cluster, output, isolation=Isolation.READ_COMMITTED)
    last: dict[bytes, tuple[int, int]] = {}
    count = 0
    for records in found.values():
        for record in records:
            number, total = (record.value or b"0/0").split(b"/")
            assert record.key is not None
            seen = last.get(record.key, (0, 0))
            assert int(number) == seen[0] + 1, "a result is missing, or came twice"
            last[record.key] = int(number), int(total)
            count += 1
    return count, last


def wanted(count: int) -> dict[bytes, tuple[int, int]]:
    """Return the right sums of the numbers below a count."""
    digits = {b"%d" % digit: range(digit, count, 10) for digit in range(10)}
    return {digit: (len(numbers), sum(numbers)) for digit, numbers in digits.items()}


def test_a_streams_job(east: Kafka, west: Kafka, topic_name: str, lab: Lab, tmp_path: Path) -> None:
    """Repartition, state store, killed inside a transaction, restored from the mirrored changelog: all sums right."""
    topics = f"{topic_name}-in", f"{topic_name}-out"
    for topic in topics:
        create(east, topic, PARTITIONS)
    daemon = both_ways(lab, east, west, f"{topic_name}-*").start(ready_seconds=0)
    one = StreamsJob(east, f"{topic_name}-app", topics, tmp_path / "east").start()
    try:
        wait_until("it works", one.is_running, 60)
        with writing(east, topics[0], 0, COUNT):
            wait_until("it is in the middle", lambda: sums(east, topics[1])[0] > COUNT // 4, 60)
            one.kill()
    finally:
        one.kill()
    changed_sides(daemon, lab.flow)
    assert sums(east, topics[1])[0] < COUNT, "it had finished before it was killed"
    other = StreamsJob(west, f"{topic_name}-app", topics, tmp_path / "west").start()
    try:
        with writing(west, topics[0], COUNT, COUNT):
            pass
        wait_until("it is through", lambda: sums(west, topics[1])[0] >= 2 * COUNT, 180)
    finally:
        other.kill()
    assert sums(west, topics[1]) == (2 * COUNT, wanted(2 * COUNT))
    for topic in topics:
        same(west, east, topic)
