"""What a daemon shows while a cluster does not answer, a partition stands still, or a flow has ended."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.harness import Daemon
from tests.integration.kafka_client import admin, create, wait_copied, wait_until
from tests.integration.load import numbered, produce

if TYPE_CHECKING:
    from tests.integration.conftest import MakeCluster
    from tests.integration.harness import Lab
    from tests.integration.kafka_client import Kafka

_NAMED_WITHIN_SECONDS = 15.0


def ask(daemon: Daemon, path: str) -> tuple[int, str]:
    """Return status and text of an endpoint."""
    try:
        with urllib.request.urlopen(f"http://{daemon._http}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def metric(daemon: Daemon, name: str, **labels: str) -> float | None:
    """Return the value of one sample, None where there is none."""
    shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
    wanted = f"{name}{{{shown}}} "
    lines = [line for line in ask(daemon, "/metrics")[1].splitlines() if line.startswith(wanted)]
    return float(lines[0].removeprefix(wanted)) if lines else None


def shown(daemon: Daemon) -> dict[str, Any]:
    """Return all that an operator decides by."""
    ready, why = ask(daemon, "/readyz")
    healthy, body = ask(daemon, f"/flows/{daemon.flow_name}/healthy")
    flow = daemon.flow()
    return {
        "ready": ready,
        "why": why,
        "healthy": healthy,
        "because": json.loads(body)["because"],
        "state": flow["state"],
        "reason": flow["reason"],
        "lag": flow["lag_records"],
        "rpo": flow["rpo_seconds"],
        "seen": flow["source_seen_age_seconds"],
    }


def until_all_well(daemon: Daemon) -> None:
    """Wait until nothing is wrong."""

    def well() -> bool:
        seen = shown(daemon)
        return (seen["ready"], seen["healthy"], seen["state"]) == (200, 200, "ACTIVE")

    wait_until("all is well", well, 60)


@pytest.mark.long
def test_a_cluster_that_does_not_answer_is_named_on_an_idle_flow(
    east: Kafka, topic_name: str, make_cluster: MakeCluster, lab: Lab
) -> None:
    """Frozen or dead: in every place that an operator looks at, within 15 s; and it is well again by itself."""
    target = make_cluster()
    create(east, topic_name)
    produce(east, topic_name, numbered(10))
    daemon = lab.daemon(east, target, topic_name, clients={}).start()
    wait_copied(east, target, topic_name)
    until_all_well(daemon)
    assert metric(daemon, "replicator_cluster_up", cluster="west") == 1
    assert metric(daemon, "replicator_partitions", flow=lab.flow, phase="copying") == 1

    def named() -> dict[str, Any]:
        seen = shown(daemon)
        bad = (seen["ready"], seen["healthy"], seen["state"]) == (503, 503, "UNREACHABLE")
        return seen if bad and metric(daemon, "replicator_cluster_up", cluster="west") == 0 else {}

    target.pause_broker(1)
    try:
        seen = wait_until("the frozen target is named", named, _NAMED_WITHIN_SECONDS)
        for text in ("why", "because", "reason"):
            assert "west does not answer" in seen[text], seen
        told = daemon.cli("flow", "status", lab.flow).stdout
        assert "west does not answer" in told, told
        assert metric(daemon, "replicator_cluster_up", cluster="east") == 1
        assert metric(daemon, "replicator_partitions", flow=lab.flow, phase="copying") == 0
    finally:
        target.resume_broker(1)
    until_all_well(daemon)

    target.kill()
    seen = wait_until("the dead target is named", named, _NAMED_WITHIN_SECONDS)
    assert "west does not answer" in seen["because"], seen


@pytest.mark.long
def test_a_dead_source_ages_and_a_failover_says_how_old_its_loss_is(
    west: Kafka, topic_name: str, make_cluster: MakeCluster, lab: Lab
) -> None:
    """The age is that of the last look at the source, not that of the last note about it."""
    source = make_cluster()
    create(source, topic_name)
    produce(source, topic_name, numbered(10))
    daemon = lab.daemon(source, west, topic_name).start()
    wait_copied(source, west, topic_name)
    until_all_well(daemon)
    source.pause_broker(1)
    try:
        wait_until("the source was not seen for 15 s", lambda: (shown(daemon)["seen"] or 0) > 15, 40)
        seen = shown(daemon)
        assert (seen["state"], seen["lag"]) == ("UNREACHABLE", None), seen
        plan = json.loads(daemon.cli("failover", lab.flow, "--dry-run", "-o", "json").stdout)["plan"]
        assert plan["observed_age_seconds"] >= 15, plan
        assert plan["observed_age_seconds"] == pytest.approx(shown(daemon)["seen"], abs=8), plan
    finally:
        source.resume_broker(1)


@pytest.mark.long
def test_a_flow_that_never_came_up_is_not_well(
    east: Kafka, topic_name: str, make_cluster: MakeCluster, lab: Lab
) -> None:
    """A target that was dead from the beginning."""
    target = make_cluster()
    target.kill()
    daemon = lab.daemon(east, target, topic_name).start(ready_seconds=0)
    wait_until("it listens", lambda: ask(daemon, "/healthz")[0] == 200)

    def named() -> dict[str, Any]:
        seen = shown(daemon)
        return seen if seen["state"] == "UNREACHABLE" else {}

    seen = wait_until("it is named", named, _NAMED_WITHIN_SECONDS)
    assert (seen["ready"], seen["healthy"], seen["lag"]) == (503, 503, None), seen
    for text in ("why", "because", "reason"):
        assert "west" in seen[text], seen
    assert metric(daemon, "replicator_cluster_up", cluster="west") == 0
    groups = daemon.cli("group", "list", lab.flow)
    assert groups.returncode != 0
    assert "not up" in groups.stderr, groups


@pytest.mark.long
def test_a_stopped_partition_stands_for_itself(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """An idle partition that stops is looked at on: the flow's numbers do not jump to when it was last written to."""
    create(east, topic_name, partitions=2)
    for partition in (0, 1):
        produce(east, topic_name, numbered(5, partition=partition))
    daemon = lab.daemon(east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    until_all_well(daemon)
    daemon.cli("flow", "pause", lab.flow, "--wait")
    produce(east, topic_name, numbered(7, 5))

    def looked() -> bool:
        ends = [part["source_end"] for part in daemon.mirror(topic_name)["partitions"]]
        return ends == [12, 5]

    wait_until("the source of a paused flow is looked at", looked, 20)
    seen = shown(daemon)
    assert seen["lag"] == 7
    assert seen["seen"] < 15
    parts = daemon.mirror(topic_name)["partitions"]
    assert parts[1]["rpo_seconds"] < 15


def test_a_flow_that_ends_by_itself_is_shown_with_its_reason(
    east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """It would feed itself, under another address of its source; the other flow goes on. The same after a reload."""
    create(east, topic_name)
    produce(east, topic_name, numbered(10))
    daemon = lab.daemon(east, west, topic_name)
    daemon.document["clusters"]["again"] = {"bootstrap": east.bootstrap.replace("127.0.0.1", "localhost")}
    daemon.document["flows"]["first"] = {"from": "east", "to": "again", "topics": {"include": ["nothing"]}}
    daemon.write()
    daemon.start(ready_seconds=0)

    def flow(name: str) -> dict[str, Any]:
        return next((one for one in daemon.status()["flows"] if one["flow"] == name), {})

    def shown_at_rest(name: str) -> bool:
        """Return whether everything says that it has ended; while it is tried again, its cluster is looked at."""
        if flow(name).get("state") != "FAULTED":
            return False
        healthy, body = ask(daemon, f"/flows/{name}/healthy")
        ready, why = ask(daemon, "/readyz")
        assert (healthy, ready) == (503, 503)
        assert "would feed itself" in flow(name)["reason"]
        assert "would feed itself" in body
        assert metric(daemon, "replicator_lease_held", flow=name, shard="0") in {None, 0}
        return f"{name} is FAULTED" in why and metric(daemon, "replicator_cluster_up", cluster="again") is None

    for name in ("first", "second"):
        wait_until(f"{name} is shown as ended", lambda name=name: shown_at_rest(name), 20)  # type: ignore[misc]
        wait_until("it is logged", lambda name=name: f'"flow": "{name}", "why"' in daemon.log_tail(), 10)  # type: ignore[misc]
        another = {"topics": {"include": ["nothing-else"]}}
        daemon.document["flows"]["second"] = daemon.document["flows"]["first"] | another
        daemon.write()
        daemon.reload()
    wait_copied(east, west, topic_name)
    assert ask(daemon, f"/flows/{lab.flow}/healthy")[0] == 200


@pytest.mark.long
def test_ready_means_that_everything_is_copied(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """At the first moment at which the daemon calls itself ready, and not only that its topics were looked at."""
    create(east, topic_name, partitions=300)
    daemon = lab.daemon(east, west, topic_name).start(ready_seconds=0)

    def first_ready() -> dict[str, Any]:
        status = daemon.status()
        return status if status["ready"] else {}

    status = wait_until("it is ready", first_ready, 60, every=0.02)
    (mirror,) = status["flows"][0]["mirrors"]
    phases = [part["phase"] for part in mirror["partitions"]]
    assert phases == ["copying"] * 300


@pytest.mark.long
def test_one_frozen_broker_of_three_is_named_on_an_idle_flow(
    east: Kafka, topic_name: str, make_cluster: MakeCluster, lab: Lab
) -> None:
    """Though the cluster is up: within 15 s, and still once the cluster has dropped it and nobody leads what it led."""
    target = make_cluster(brokers=3)
    create(east, topic_name, partitions=6)
    for partition in range(6):
        produce(east, topic_name, numbered(5, partition=partition))
    create(target, topic_name, partitions=6)
    daemon = lab.daemon(east, target, topic_name).start()
    wait_copied(east, target, topic_name)
    until_all_well(daemon)
    described = admin(target).list_topics(timeout=10).topics
    (keeper,) = (part.leader for part in described["replicator.state"].partitions.values())
    led = {number: part.leader for number, part in described[topic_name].partitions.items()}
    frozen = next(node for node in led.values() if node != keeper)
    waits = {number for number, node in led.items() if node == frozen}
    broker = {"broker": str(frozen), "cluster": "west"}
    assert metric(daemon, "replicator_broker_up", **broker) == 1

    def named() -> dict[str, Any]:
        seen = shown(daemon)
        bad = (seen["ready"], seen["healthy"], seen["state"]) == (503, 503, "ACTIVE")
        return seen if bad and metric(daemon, "replicator_broker_up", **broker) == 0 else {}

    def check(seen: dict[str, Any]) -> None:
        for text in ("why", "because", "reason"):
            assert f"west broker {frozen} does not answer" in seen[text], seen
        assert f"{len(waits)} of 6 partitions of {lab.flow} are not copied now: waiting_for_leader" in seen["why"]
        assert seen["lag"] is None
        parts = daemon.mirror(topic_name)["partitions"]
        assert {one["partition"] for one in parts if one["phase"] == "waiting"} == waits
        assert all(one["lag_records"] is None for one in parts if one["partition"] in waits)
        assert f"west broker {frozen} does not answer" in daemon.cli("flow", "status", lab.flow).stdout
        assert metric(daemon, "replicator_cluster_up", cluster="west") == 1

    target.pause_broker(frozen)
    try:
        check(wait_until("the frozen broker is named", named, _NAMED_WITHIN_SECONDS))
        leaderless = f"west has no leader for {topic_name}-{min(waits)}"
        wait_until("the cluster has dropped it", lambda: leaderless in (shown(daemon)["reason"] or ""), 60)
        check(named())
    finally:
        target.resume_broker(frozen)
    until_all_well(daemon)
    assert metric(daemon, "replicator_broker_up", **broker) == 1
