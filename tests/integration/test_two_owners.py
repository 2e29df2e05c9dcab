"""Two flows that want one target topic: the one that is at work keeps it; one that ended is adopted in one step."""

from __future__ import annotations

import json
import subprocess

import pytest

from replicator.devkit.cluster import Cluster
from tests.integration.conftest import MakeCluster
from tests.integration.harness import REPLICATOR, Daemon, Lab
from tests.integration.kafka_client import Kafka, assert_equal, create, read_all, wait_copied, wait_until
from tests.integration.load import numbered, produce
from tests.integration.test_resolve import resolve
from tests.integration.test_resolve_alike import compared, translated
from tests.integration.test_switchover import both_ways, flow_of


def _second(lab: Lab, first: Daemon, name: str) -> Daemon:
    """Make a daemon of the same flow under another name."""
    second = lab.daemon({}, {})
    second.document |= {"clusters": first.document["clusters"]}
    second.document["flows"] = {name: first.document["flows"][lab.flow]}
    second.write()
    return second


def _checked(daemon: Daemon) -> str:
    """Return all that `validate --connect` says of a daemon's file."""
    command = [str(REPLICATOR), "validate", str(daemon.file), "--connect", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    sections = json.loads(done.stdout)["connect"]["sections"]
    return "; ".join(check["text"] for section in sections for check in section["checks"])


@pytest.mark.long
def test_a_flow_at_work_keeps_its_topic(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Nothing that is ordered of the second flow stops the first; once that ended, its record moves with its map."""
    create(east, topic_name)
    produce(east, topic_name, numbered(20))
    first = lab.daemon(east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    name = f"{lab.flow}-renamed"
    second = _second(lab, first, name).start(ready_seconds=0)
    mirror = second.wait_state(topic_name, "FAULTED", "other_owner")
    assert f"is a mirror of flow {lab.flow} (from east" in mirror["detail"], mirror
    for how, why in (("accept", "daemons of that flow are active"), ("recreate", "--how accept")):
        told = second.cli("mirror", "resolve", name, topic_name, "--how", how, "--yes")
        assert told.returncode, told.stdout
        assert why in told.stderr, told.stderr
    produce(east, topic_name, numbered(20, 20))
    wait_copied(east, west, topic_name)
    assert first.mirror(topic_name)["state"] == "ACTIVE"
    checked = _checked(second)
    assert f"is a mirror of flow {lab.flow}" in checked, checked

    first.stop()
    produce(east, topic_name, numbered(20, 40))
    assert resolve(second, name, topic_name, "accept") == []
    assert_equal(east, west, topic_name)
    assert translated(second, topic_name, 10) == ("exact", 10)
    assert compared(second, name) == [(True, 60, 0)]

    first.start(ready_seconds=0)
    mirror = first.wait_state(topic_name, "FAULTED", "other_owner")
    assert f"is a mirror of flow {name}" in mirror["detail"], mirror
    produce(east, topic_name, numbered(20, 60))
    assert_equal(east, west, topic_name)


@pytest.mark.long
def test_another_cluster_behind_the_address_of_the_source(
    east: Cluster, west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster
) -> None:
    """That is the first thing said; nothing deletes what may be the last copy, and the target can be opened."""
    rebuilt = make_cluster()
    create(east, topic_name, 1)
    create(rebuilt, topic_name, 1)
    produce(east, topic_name, numbered(20))
    daemon = lab.daemon(east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    was = daemon.flow()["flow_uid"]
    daemon.stop()
    section = daemon.document["clusters"]["east"]
    section["bootstrap"] = rebuilt.bootstrap
    daemon.write()
    daemon.start(ready_seconds=0)
    wait_until("it is said", lambda: "is not the same one as before" in (daemon.flow()["reason"] or ""))
    assert daemon.flow()["mirrors"] == []
    assert daemon.cli("switch", "status", lab.flow).returncode == 0

    section["cluster_id"] = rebuilt.cluster_id
    daemon.write()
    daemon.reload()
    mirror = daemon.wait_state(topic_name, "FAULTED", "other_owner")
    assert mirror["detail"].startswith(f"cluster east of flow {lab.flow} is {rebuilt.cluster_id}"), mirror
    assert east.cluster_id in mirror["detail"], mirror
    for how in ("recreate", "accept"):
        told = daemon.cli("mirror", "resolve", lab.flow, topic_name, "--how", how, "--yes")
        assert told.returncode, told.stdout
    assert len(read_all(west, topic_name)[0]) == 20
    assert daemon.flow()["flow_uid"] != was
    checked = _checked(daemon)
    assert f"flow {lab.flow} from east (cluster {east.cluster_id}) is there too" in checked, checked

    section["cluster_id"] = east.cluster_id
    daemon.write()
    daemon.reload()
    wait_until("it is up", lambda: daemon.cli("switch", "status", lab.flow).returncode == 0)
    told = daemon.cli("failover", lab.flow, "--confirm", lab.flow, seconds=120)
    assert told.returncode == 0, told.stderr
    assert daemon.flow()["flow_uid"] is None
    assert daemon.flow()["state"] == "FAILED_OVER"


@pytest.mark.long
def test_a_source_that_is_rebuilt_while_the_flow_runs(
    west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster
) -> None:
    """It looks like one that lost its records: which cluster it is, is told, and nothing of the target is given up."""
    source = make_cluster()
    create(source, topic_name)
    produce(source, topic_name, numbered(20))
    daemon = lab.daemon(source, west, topic_name).start()
    wait_copied(source, west, topic_name)
    source.kill()
    rebuilt = make_cluster(base_port=source.config.base_port)
    create(rebuilt, topic_name)
    wait_until("it is said", lambda: "'east' is not the same one as before" in (daemon.flow()["reason"] or ""), 90)
    assert f"copies from {source.cluster_id}, and {rebuilt.cluster_id} answers now" in daemon.flow()["reason"]
    for how in ("recreate", "accept"):
        told = daemon.cli("mirror", "resolve", lab.flow, topic_name, "--how", how, "--yes")
        assert "resolved" not in told.stdout.replace("already resolved", ""), told.stdout
    assert len(read_all(west, topic_name)[0]) == 20


@pytest.mark.long
def test_a_rebuilt_source_is_not_failed_back_to(
    west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster
) -> None:
    """Its records are not the old source's tail: none is counted, exported or deleted; and one can begin anew."""
    source = make_cluster()
    other = f"{topic_name}-other"
    for topic in (topic_name, other):
        create(source, topic)
        produce(source, topic, numbered(20))
    daemon = both_ways(lab, source, west, f"{topic_name}*").start()
    for topic in (topic_name, other):
        wait_copied(source, west, topic)
    source.kill()
    rebuilt = make_cluster(base_port=source.config.base_port)
    create(rebuilt, topic_name)
    produce(rebuilt, topic_name, numbered(43, 1000))
    named = f"copies from {source.cluster_id}, and {rebuilt.cluster_id} answers now"
    wait_until("it is said", lambda: named in (daemon.flow()["reason"] or ""), 90)
    assert daemon.mirror(topic_name)["state"] != "FAULTED", daemon.mirror(topic_name)

    told = daemon.cli("failover", lab.flow, "--dry-run", "-o", "json")
    plan = json.loads(told.stdout)["plan"]
    assert (plan["known_loss"], plan["unseen"]) == (0, 0), told.stdout
    assert plan["observed_age_seconds"] > 2, told.stdout
    told = daemon.cli("failover", lab.flow, "--confirm", lab.flow)
    assert told.returncode == 0, told.stderr
    wait_until("why no tail is measured", lambda: named in daemon.cli("switch", "status", lab.flow).stdout, 60)
    shown = daemon.cli("switch", "status", lab.flow).stdout
    assert "tail of the old source (the exact loss): not known" in shown, shown

    for dry_run in (("--dry-run",), ("--yes",)):
        told = daemon.cli("failback", lab.flow, "--producers-stopped", *dry_run)
        assert told.returncode, told.stdout
        assert named in told.stdout + told.stderr, told.stdout + told.stderr
        assert "without `reverse_of`" in told.stdout + told.stderr, told.stdout + told.stderr
    assert [record.value for record in read_all(rebuilt, topic_name)[0]] == [one["value"] for one in numbered(43, 1000)]

    anew = f"{lab.flow}-anew"
    forth = daemon.document["flows"][lab.flow]
    daemon.document["flows"] = {anew: forth | {"from": "west", "to": "east"}}
    daemon.write()
    daemon.reload()
    wait_until("it runs", lambda: [flow["flow"] for flow in daemon.status()["flows"]] == [anew])
    assert flow_of(daemon, anew)["target"] == "east"
    assert_equal(west, rebuilt, other)
    daemon.wait_state(topic_name, "FAULTED", "foreign_writer")
    assert len(read_all(rebuilt, topic_name)[0]) == 43
