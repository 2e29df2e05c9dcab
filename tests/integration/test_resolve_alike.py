"""`accept` where both sides hold the same records: nothing is copied twice, and offsets that are the same stay so."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from typing import Any

import pytest

from replicator.model.spec import Isolation
from tests.integration.conftest import MakeCluster
from tests.integration.corpus.plain import T0_MS
from tests.integration.corpus.transactional import transactional
from tests.integration.harness import REPLICATOR, Daemon, Lab
from tests.integration.kafka_client import (
    Kafka,
    assert_equal,
    bounds,
    create,
    delete,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import produce
from tests.integration.test_resolve import ranges, resolve, values
from tests.integration.test_translation import of_one, rows


def _dated(count: int, first: int = 0, word: str = "") -> Iterable[dict[str, Any]]:
    """Return records whose times are part of them, as an application writes that fills a topic again."""
    return (
        {"value": b"%s%d" % (word.encode(), at), "key": b"%d" % (at % 7), "timestamp": T0_MS + at}
        for at in range(first, first + count)
    )


def _with_a_hole_behind(cluster: Kafka, topic: str) -> None:
    """Write 35 records, and six behind them that were aborted: the log ends at 42."""
    create(cluster, topic)
    produce(cluster, topic, _dated(35))
    with transactional(cluster, topic) as producer:
        producer.begin_transaction()
        for _ in range(6):
            producer.produce(topic, b"never", partition=0)
        producer.flush()
        producer.abort_transaction(30)
    wait_until("the hole is there", lambda: bounds(cluster, topic)[0] == (0, 42))


def compared(daemon: Daemon, flow: str) -> list[tuple[bool, int, int]]:
    """Return of each topic whether `verify` finds it equal, in how many records, and how many it did not compare."""
    command = [str(REPLICATOR), "verify", flow, "-c", str(daemon.file), "--wait", "30s", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return [(one["equal"], one["records"], one["not_compared"]) for one in json.loads(done.stdout)["topics"]]


def translated(daemon: Daemon, topic: str, offset: int) -> tuple[str, int | None]:
    """Return where an offset of partition 0 stands on the target."""
    _, (row,), _ = rows(daemon, *of_one(topic, 0, offset))
    return row["state"], row["target_offset"]


@pytest.mark.long
def test_a_hole_at_the_end_moves_no_offset(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """What another tool copied offset by offset is taken over as that; offsets below are told, and compared."""
    for cluster in (east, west):
        _with_a_hole_behind(cluster, topic_name)
    daemon = lab.daemon(east, west, topic_name).start(ready_seconds=0)
    daemon.wait_state(topic_name, "FAULTED", "foreign_writer")
    assert resolve(daemon, lab.flow, topic_name, "accept") == []

    produce(east, topic_name, _dated(10, 100))
    wait_copied(east, west, topic_name)
    assert values(west, topic_name)[-10:] == values(east, topic_name)[-10:]
    assert daemon.mirror(topic_name)["partitions"][0]["offsets"] == "identical"
    assert translated(daemon, topic_name, 10) == ("exact", 10)
    assert compared(daemon, lab.flow) == [(True, 45, 0)]


@pytest.mark.long
def test_a_topic_that_was_filled_again_is_not_copied_twice(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Some of what was there, and more: behind the records that the target holds already."""
    whole, part = f"{topic_name}-whole", f"{topic_name}-part"
    for topic in (whole, part):
        create(east, topic)
        produce(east, topic, _dated(300))
    daemon = lab.daemon(east, west, f"{topic_name}-*").start()
    for topic, count in ((whole, 300), (part, 260)):
        wait_copied(east, west, topic)
        delete(east, topic)
        daemon.wait_state(topic, "FAULTED")
        create(east, topic)
        produce(east, topic, _dated(count))
        produce(east, topic, _dated(20, 1000, "new "))
        daemon.wait_state(topic, "FAULTED", "source_recreated")

    resolve(daemon, lab.flow, whole, "accept")
    assert_equal(east, west, whole)
    assert daemon.mirror(whole)["partitions"][0]["offsets"] == "identical"

    assert ranges(resolve(daemon, lab.flow, part, "accept")) == [(0, 0, 300)]
    wait_until("it goes on", lambda: bounds(west, part)[0] == (0, 320))
    here = [record.value for record in read_all(west, part)[0]]
    assert here == [b"%d" % at for at in range(300)] + [b"new %d" % at for at in range(1000, 1020)]


@pytest.mark.long
def test_a_state_topic_that_was_deleted(east: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster) -> None:
    """It is named at once; after a restart each topic is taken up where it ends, and nothing is copied again."""
    target = make_cluster()
    _with_a_hole_behind(east, topic_name)
    daemon = lab.daemon(east, target, topic_name, replication_factor=1).start()
    wait_copied(east, target, topic_name)
    delete(target, "replicator.state")
    wait_until("it is said", lambda: "replicator.state of cluster 'west' is gone" in (daemon.flow()["reason"] or ""))
    assert "older version" not in str(daemon.cli("mirror", "list", lab.flow).stdout)
    daemon.stop()
    daemon.start(ready_seconds=0)
    mirror = daemon.wait_state(topic_name, "FAULTED", "foreign_writer")
    assert "replicator.state was lost" in mirror["detail"], mirror

    assert resolve(daemon, lab.flow, topic_name, "accept") == []
    produce(east, topic_name, _dated(10, 100))
    wait_copied(east, target, topic_name)
    assert read_all(target, topic_name, isolation=Isolation.READ_COMMITTED) == read_all(
        east, topic_name, isolation=Isolation.READ_COMMITTED
    )
    assert daemon.mirror(topic_name)["partitions"][0]["offsets"] == "identical"
    assert translated(daemon, topic_name, 10) == ("exact", 10)
    assert compared(daemon, lab.flow) == [(True, 45, 0)]
