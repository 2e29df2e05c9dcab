"""The source is lost: its target opens, the loss is told, and the way back brings the old source in step again."""

from __future__ import annotations

import json
import random
import time

import pytest

from replicator.devkit.cluster import Cluster
from tests.integration.conftest import MakeCluster
from tests.integration.group_tools import positions
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import (
    Kafka,
    assert_equal,
    bounds,
    commit,
    create,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import Load, produce
from tests.integration.test_switchover import (
    PARTITIONS,
    at_once,
    beside,
    both_ways,
    flow_of,
    last_switch,
    order,
    spread,
    switches,
)

LOST = 30


def lost_source(source: Cluster, west: Kafka, topic: str, lab: Lab, *, lost: int = LOST) -> Daemon:
    """Copy some, then let the source take records that nobody copies, and die; the daemon is frozen."""
    create(source, topic, PARTITIONS)
    produce(source, topic, spread(300))
    commit(source, f"{topic}-group", topic, dict.fromkeys(range(PARTITIONS), 90))
    daemon = both_ways(lab, source, west, topic).start(ready_seconds=0)
    wait_copied(source, west, topic)
    group = f"{topic}-group"
    wait_until("the group follows", lambda: positions(west, group, topic, PARTITIONS) == [90] * PARTITIONS)
    time.sleep(6.0)  # until the source's ends were recorded
    daemon.freeze()
    # The fetch that is under way takes this one along: it lies in the daemon's socket, and is copied later.
    produce(source, topic, [{"value": b"kept", "partition": 0}])
    time.sleep(1.0)
    produce(source, topic, ({"value": b"lost %d" % at, "partition": 0} for at in range(lost)))
    source.kill()
    return daemon


def failed_over(daemon: Daemon, west: Kafka, topic: str, lab: Lab, *, kept: int = 1) -> None:
    """Fail over, and check what it says."""
    told = order(daemon, "failover", lab.flow, code=3)
    assert "loss if done now: 0 offsets" in told, told
    assert order(daemon, "failover", lab.flow, "--confirm", "another", code=2)
    told = order(daemon, "failover", lab.flow, "--confirm", lab.flow)
    assert "not known until the source returns" in told
    assert f"{PARTITIONS} partitions, 0 offsets are lost as far as is known" in told
    assert "already done" in order(daemon, "failover", lab.flow, "--confirm", lab.flow)
    opened(daemon, west, topic, lab, kept=kept)


def opened(daemon: Daemon, west: Kafka, topic: str, lab: Lab, *, kept: int = 1) -> None:
    """Look at what a failover leaves: one marker in each partition, and groups where they were."""
    assert flow_of(daemon, lab.flow)["state"] == "FAILED_OVER"
    assert bounds(west, topic) == {0: (0, 100 + kept + 1), 1: (0, 101), 2: (0, 101)}
    assert positions(west, f"{topic}-group", topic, PARTITIONS) == [90] * PARTITIONS


def tail_of(daemon: Daemon, flow: str) -> int | None:
    """Return how much the old source holds beyond the cut, once it was measured."""
    found: int | None = last_switch(daemon, flow)["known_tail"]
    return found


@pytest.mark.long
@pytest.mark.parametrize("how", ["recreate", "append"])
def test_failback_with_a_tail(west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster, how: str) -> None:
    """What the old source held too many is exported and told; nothing of it goes before it was agreed to."""
    source = make_cluster()
    daemon = lost_source(source, west, topic_name, lab)
    daemon.thaw()
    failed_over(daemon, west, topic_name, lab)
    produce(west, topic_name, spread(60, 1000))

    source.start()
    wait_until("the tail is measured", lambda: tail_of(daemon, lab.flow) == LOST, 60)
    before = read_all(source, topic_name)
    words = ("failback", lab.flow, "--producers-stopped", "--yes", *(["--append"] if how == "append" else []))
    told = order(daemon, *words, code=3)
    assert f"holds {LOST} offsets that were never copied" in told, told
    assert read_all(source, topic_name) == before, "nothing was agreed to yet"
    epoch = last_switch(daemon, lab.flow)
    exported = read_all(west, f"{topic_name}.divergent.{_epoch(daemon, lab.flow)}")
    tail = [record for record in before[0] if (record.value or b"").startswith(b"lost")]
    assert [record.value for record in exported[0]] == [record.value for record in tail]
    assert [dict(record.headers)["replicator.offset"] for record in exported[0]] == [b"%d" % one.offset for one in tail]
    assert [record.timestamp for record in exported[0]] == [record.timestamp for record in tail]

    assert order(daemon, "failback", lab.flow, "--confirm", "0" * 16, code=3)
    told = order(daemon, "failback", lab.flow, "--confirm", epoch["confirm"])
    assert "nothing is lost" in told, told
    assert flow_of(daemon, lab.flow)["state"] == "ACTIVE"
    assert flow_of(daemon, f"{lab.flow}-back")["state"] == "SWITCHED_OVER"
    produce(source, topic_name, spread(30, 2000))
    if how == "append":
        values = {part: [one.value for one in some] for part, some in read_all(source, topic_name).items()}
        assert values[0] == [one.value for one in before[0]] + [
            b"%d" % at for at in (*range(1000, 1060), *range(2000, 2030)) if at % PARTITIONS == 0
        ]
        wait_until("it goes on", lambda: len(read_all(west, topic_name)[0]) == 101 + 20 + 10)
        return
    wait_copied(source, west, topic_name)
    assert_equal(source, west, topic_name)


def _epoch(daemon: Daemon, flow: str) -> int:
    answer = daemon.cli("switch", "history", flow, "-o", "json")
    found = [one["epoch"] for one in json.loads(answer.stdout)["switches"] if one["epoch"] is not None]
    return int(max(found))


def test_a_daemon_that_never_saw_the_source(west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster) -> None:
    """It starts after the source died, with an empty state directory: which flow is meant, the flow file says."""
    source = make_cluster()
    daemon = lost_source(source, west, topic_name, lab)
    daemon.kill()
    fresh = lab.daemon(source, west, topic_name, replication_factor=1)
    fresh.document = daemon.document | {"daemon": fresh.document["daemon"]}
    fresh.write()
    fresh.start(ready_seconds=0)
    wait_until("it answers", lambda: fresh.cli("flow", "list").returncode == 0)
    told = order(fresh, "failover", lab.flow, "--confirm", lab.flow, code=1)
    assert f"from: {source.cluster_id} (east)" in told, told
    assert "clusters.east.cluster_id" in told, told
    fresh.document["clusters"]["east"]["cluster_id"] = source.cluster_id
    fresh.write()
    fresh.reload()
    wait_until("it knows the flow", lambda: fresh.cli("switch", "status", lab.flow).returncode == 0, 30)
    failed_over(fresh, west, topic_name, lab, kept=0)
    source.start()
    wait_until("the tail is measured", lambda: tail_of(fresh, lab.flow) == LOST + 1, 60)


@pytest.mark.long
def test_from_two_daemons_at_once(west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster) -> None:
    """Each with a coordinator and a store of its own, one of them started without the source: one failover."""
    source = make_cluster()
    first = lost_source(source, west, topic_name, lab)
    first.thaw()
    first.document["clusters"]["east"]["cluster_id"] = source.cluster_id  # the second one never sees it
    daemons = (first, beside(first, lab))
    told = at_once(daemons, "failover", lab.flow, "--confirm", lab.flow)
    assert [code for code, _ in told] == [0, 0], told
    history = [switches(daemon, lab.flow, "failover") for daemon in daemons]
    assert history[0] == history[1]
    assert len(history[0]) == 1
    for daemon in daemons:
        assert "already done" in order(daemon, "failover", lab.flow, "--confirm", lab.flow)
        opened(daemon, west, topic_name, lab)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_the_tail(west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster, seed: int) -> None:
    """Killed at a random moment under load: no more is told than the tail, and the tail is exactly what is missing."""
    chance = random.Random(seed)  # noqa: S311 - a moment
    source = make_cluster()
    create(source, topic_name, PARTITIONS)
    daemon = both_ways(lab, source, west, topic_name).start(ready_seconds=0)
    with Load(source, {topic_name: PARTITIONS}, per_second=4000) as load:
        wait_until("the flow copies", lambda: flow_of(daemon, lab.flow)["totals"]["records_total"] > 0)
        time.sleep(chance.uniform(6.0, 12.0))
        if seed % 2:
            daemon.freeze()
            time.sleep(chance.uniform(0.2, 1.5))
        source.kill()
        if seed % 2:
            daemon.thaw()
        order(daemon, "failover", lab.flow, "--confirm", lab.flow)
        reported = last_switch(daemon, lab.flow)["known_loss"]
        load.abandon()
    source.start()
    wait_until("the tail is measured", lambda: tail_of(daemon, lab.flow) is not None, 60)
    tail = tail_of(daemon, lab.flow)
    there, here = read_all(source, topic_name), read_all(west, topic_name)
    missing = 0
    for number, records in there.items():
        held = here[number]
        assert records[: len(held)] == held, "the target holds something else"
        missing += len(records) - len(held)
    assert missing == tail
    assert reported <= tail
