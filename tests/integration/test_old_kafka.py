"""Kafka 3.9 on both sides, written and read by Kafka's own Java tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from replicator.devkit import KAFKA_VERSION_OLD, Cluster, ensure_distribution, start_clusters
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, assert_equal, commit, create, wait_until

RECORDS = 20_000


def java(main_class: str, *args: str, text: str | None = None) -> str:
    """Run a tool of the old Kafka; return what it printed."""
    command = ensure_distribution(KAFKA_VERSION_OLD).command(main_class, *args)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def console(cluster: Kafka, topic: str, partition: int, records: int) -> list[str]:
    """Return what Kafka's console consumer prints of a partition: time, offset, headers, key and value."""
    shown = ("timestamp", "offset", "headers", "key", "value", "partition")
    printed = java(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        *("--bootstrap-server", cluster.bootstrap, "--topic", topic, "--partition", str(partition)),
        *("--offset", "earliest", "--max-messages", str(records)),
        *(word for name in shown for word in ("--property", f"print.{name}=true")),
    )
    return printed.splitlines()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_kafka_3_9_by_its_own_tools(make_cluster: MakeCluster, topic_name: str, lab: Lab, tmp_path: Path) -> None:
    """What the console consumer shows of the copy is what it shows of the source."""
    clusters: list[Cluster] = [
        make_cluster(name=f"old-{name}", kafka_version=KAFKA_VERSION_OLD, start=False) for name in ("east", "west")
    ]
    start_clusters(clusters)
    source, target = clusters
    lines, bulk = f"{topic_name}-lines", f"{topic_name}-bulk"
    create(source, lines)
    create(source, bulk, 3)
    daemon = lab.daemon(source, target, f"{topic_name}-*").start()
    bootstrap = ("--bootstrap-server", source.bootstrap)
    java(
        "kafka.tools.ConsoleProducer",
        *(*bootstrap, "--topic", lines, "--property", "parse.key=true", "--property", "parse.headers=true"),
        *("--compression-codec", "lz4"),
        text="".join(f"h:{number},g:x\tkey-{number}\tvalue-{number}\n" for number in range(500)),
    )
    settings = tmp_path / "producer.properties"
    settings.write_text(f"bootstrap.servers={source.bootstrap}\ncompression.type=zstd\nlinger.ms=5\n")
    java(
        "org.apache.kafka.tools.ProducerPerformance",
        *("--topic", bulk, "--num-records", str(RECORDS), "--record-size", "200", "--throughput", "-1"),
        *("--producer.config", str(settings)),
    )

    assert len(assert_equal(source, target, lines)[0]) == 500
    found = assert_equal(source, target, bulk)
    assert sum(map(len, found.values())) == RECORDS
    shown = console(source, lines, 0, 500)
    assert len(shown) == 500
    assert "Offset:499" in shown[-1]
    assert "h:499,g:x" in shown[-1]
    assert shown == console(target, lines, 0, 500)
    for partition, records in found.items():
        if records:
            there, here = (console(cluster, bulk, partition, len(records)) for cluster in (source, target))
            assert there == here
            assert len(there) == len(records)
    group = f"{topic_name}-group"
    commit(source, group, bulk, {number: len(records) for number, records in found.items()})
    tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"

    def follows() -> bool:
        described = java(tool, "--bootstrap-server", target.bootstrap, "--describe", "--group", group)
        rows = [line.split() for line in described.splitlines() if line.startswith(group)]
        return {int(row[2]): int(row[3]) for row in rows} == {at: len(records) for at, records in found.items()}

    wait_until("the group follows", follows, every=1.0)
    assert daemon.stop() == 0
