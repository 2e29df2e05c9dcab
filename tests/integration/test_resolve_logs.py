"""Faults that only a disk or an unclean election makes, on real brokers: a damaged batch, a log that lost its end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from replicator.devkit import Cluster
from replicator.wire.batches.batch import scan
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, bounds, create, read_all, wait_copied, wait_until
from tests.integration.load import numbered, produce
from tests.integration.test_resolve import ranges, resolve, values

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

_HEADER_BYTES = 61


def log_file(cluster: Cluster, topic: str) -> Path:
    """Return the only segment of partition 0."""
    (found,) = cluster.config.directory.glob(f"broker-*/data/{topic}-0/00000000000000000000.log")
    return found


def ten_batches(cluster: Kafka, topic: str, first: int = 0) -> None:
    """Write ten batches of five records."""
    for at in range(first, first + 50, 5):
        produce(cluster, topic, numbered(5, at), **{"linger.ms": 50})


def forget_indexes(segment: Path) -> None:
    """Let the broker read the log anew when it starts, whatever it knew of it."""
    for name in ("*.index", "*.timeindex", "*.snapshot", "*.txnindex", "leader-epoch-checkpoint"):
        for file in segment.parent.glob(name):
            file.unlink()
    data = segment.parents[1]
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", ".kafka_cleanshutdown"):
        (data / name).unlink(missing_ok=True)


def test_a_damaged_batch_is_left_out(make_cluster: MakeCluster, west: Kafka, topic_name: str, lab: Lab) -> None:
    """It stops the partition with its offset; skipped, everything else stands where it stood."""
    source = make_cluster()
    create(source, topic_name, 2)
    ten_batches(source, topic_name)
    produce(source, topic_name, numbered(5, partition=1))
    before = read_all(source, topic_name)
    source.stop()
    file = log_file(source, topic_name)
    raw = bytearray(file.read_bytes())
    damaged = scan(raw, 0, len(raw))[4]
    raw[damaged.start + _HEADER_BYTES + 3] ^= 0xFF
    file.write_bytes(raw)
    source.start()
    daemon = lab.daemon(source, west, topic_name).start()

    detail = daemon.wait_state(topic_name, "FAULTED", "corrupt_batch")["detail"]
    assert f"offset {damaged.base_offset}" in detail
    wait_until("partition 1 goes on", lambda: bounds(west, topic_name)[1] == (0, 5))
    assert ranges(resolve(daemon, lab.flow, topic_name, "skip")) == [(0, damaged.base_offset, damaged.next_offset)]

    wait_copied(source, west, topic_name)
    lost = range(damaged.base_offset, damaged.next_offset)
    assert read_all(west, topic_name)[0] == [record for record in before[0] if record.offset not in lost]


def truncated(source: Cluster, topic: str, daemon: Daemon) -> list[bytes | None]:
    """Cut the last three batches of the source, and write others; return what the target holds too many."""
    ten_batches(source, topic)
    lost = [b"value-%d" % at for at in range(35, 50)]
    wait_until("all is copied", lambda: daemon.flow()["lag_records"] == 0)
    assert daemon.stop() == 0
    source.stop()
    file = log_file(source, topic)
    raw = file.read_bytes()
    file.write_bytes(raw[: scan(raw, 0, len(raw))[7].start])
    forget_indexes(file)
    source.start()
    wait_until("the source lost its end", lambda: bounds(source, topic)[0] == (0, 35))
    produce(source, topic, [{"value": b"new %d" % at} for at in range(20)])
    daemon.start()
    wait_until("it stops", lambda: daemon.mirror(topic)["state"] == "FAULTED")
    assert daemon.mirror(topic)["reason"] in {"source_truncated", "content_mismatch"}
    return list(lost)


@pytest.mark.parametrize("how", ["accept", "recreate"])
def test_a_source_that_lost_its_end(
    make_cluster: MakeCluster, west: Kafka, topic_name: str, lab: Lab, how: str
) -> None:
    """The target's extra records are kept and the copy goes on behind them, or it begins anew."""
    source = make_cluster()
    create(source, topic_name)
    daemon = lab.daemon(source, west, topic_name).start()
    lost = truncated(source, topic_name, daemon)

    resolve(daemon, lab.flow, topic_name, how)

    there = values(source, topic_name)
    kept = lost if how == "accept" else []
    wait_until("all is there", lambda: values(west, topic_name) == there[:35] + kept + there[35:])
    assert daemon.mirror(topic_name)["partitions"][0]["offsets"] == ("mapped" if how == "accept" else "identical")
    produce(source, topic_name, [{"value": b"newer"}])
    wait_until("it goes on", lambda: values(west, topic_name)[-1] == b"newer")
    daemon.kill()
    produce(source, topic_name, [{"value": b"newest"}])
    daemon.start()
    wait_until("also after a kill", lambda: values(west, topic_name)[-1] == b"newest")
    there = values(source, topic_name)
    assert values(west, topic_name) == there[:35] + kept + there[35:]


def test_two_daemons_take_up_what_one_was_told(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Neither keeps the fault, nothing is doubled, and the other one knows that it was resolved."""
    create(east, topic_name)
    first = lab.daemon(east, west, topic_name).start()
    second = lab.daemon(east, west, topic_name).start()
    produce(east, topic_name, numbered(10))
    wait_copied(east, west, topic_name)
    produce(west, topic_name, [{"value": b"not a copy"}])
    produce(east, topic_name, numbered(10, 10))
    first.wait_state(topic_name, "FAULTED", "foreign_writer")

    resolve(second, lab.flow, topic_name, "accept")  # it stands by, and asks the one that copies

    first.wait_state(topic_name, "ACTIVE")
    again = second.cli("mirror", "resolve", lab.flow, topic_name, "--how", "accept", "--yes")
    assert "already resolved" in again.stdout
    produce(east, topic_name, numbered(10, 20))
    wait_until("all is there", lambda: len(values(west, topic_name)) == 31)
    first.kill()
    produce(east, topic_name, numbered(5, 30))
    wait_until("the other goes on", lambda: len(values(west, topic_name)) == 36)
    assert [value for value in values(west, topic_name) if value != b"not a copy"] == values(east, topic_name)


def test_a_daemon_that_dies_while_a_mirror_begins_anew(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Whatever it had come to, the next start finishes it."""
    create(east, topic_name, 2)
    daemon = lab.daemon(east, west, topic_name).start()
    for round_number in range(3):
        produce(east, topic_name, numbered(10, 10 * round_number))
        wait_copied(east, west, topic_name)
        produce(west, topic_name, [{"value": b"not a copy"}])
        produce(east, topic_name, numbered(1, 100 + round_number))
        daemon.wait_state(topic_name, "FAULTED", "foreign_writer")
        done = daemon.cli("mirror", "resolve", lab.flow, topic_name, "--how", "recreate", "--yes")
        assert done.returncode == 0, done.stderr
        time.sleep(0.3 * round_number)  # before the topic is deleted, after it, or when it was created again
        daemon.kill()
        daemon.start()
        wait_until("equal", lambda: values(west, topic_name) == values(east, topic_name), 60)
        assert read_all(west, topic_name) == read_all(east, topic_name)
