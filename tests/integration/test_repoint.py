"""A follower of a lost source goes on from another region, in place: three real clusters."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from replicator.devkit import Cluster
from tests.integration.conftest import MakeCluster
from tests.integration.harness import CLIENTS, Daemon, Lab
from tests.integration.kafka_client import (
    assert_same,
    bounds,
    create,
    delete,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import numbered, produce

PARTITIONS = 3


@pytest.fixture(scope="module")
def regions(make_module_cluster: MakeCluster) -> dict[str, Cluster]:
    """Three clusters of one broker: b and c outlive every test, a is started for each."""
    return {name: make_module_cluster(name=f"region-{name}") for name in ("b", "c")}


class Regions:
    """Two daemons: one beside b, one beside c, both copying from a."""

    def __init__(self, tmp: Path, clusters: dict[str, Cluster], topic: str, flow: str) -> None:
        self.a, self.b, self.c = clusters["a"], clusters["b"], clusters["c"]
        self.topic, self.flow = topic, flow
        self.to_b, self.to_c = self._daemon(tmp / "b", "b"), self._daemon(tmp / "c", "c")

    def _daemon(self, directory: Path, beside: str) -> Daemon:
        def follower(source: str, target: str, **more: Any) -> dict[str, Any]:
            return {"from": source, "to": target, "topics": {"include": [self.topic]}, **more}

        document = {
            "version": 1,
            "coordinator": {"lease_ttl": "3s", "lease_margin": "1s"},
            "clusters": {
                name: {"bootstrap": cluster.bootstrap, "client": dict(CLIENTS)}
                for name, cluster in (("a", self.a), ("b", self.b), ("c", self.c))
            },
            "flows": {f"{self.flow}-{beside}": follower("a", beside)},
        }
        return Daemon(directory, document)

    def source_of(self, daemon: Daemon) -> tuple[str, str]:
        """Return what a daemon says its flow copies from, and the flow's state."""
        flow = daemon.flow()
        return flow["source"], flow["state"]

    def repoint(self, *more: str, code: int = 0) -> str:
        """Order the follower to copy from b; return what is said."""
        done = self.to_c.cli("flow", "repoint", f"{self.flow}-c", "--from", "b", *more)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def world(regions: dict[str, Cluster], make_cluster: MakeCluster, tmp_path: Path, topic_name: str, lab: Lab) -> Regions:
    """All of it, copied; the daemons end with the test."""
    made = Regions(tmp_path / "regions", {**regions, "a": make_cluster()}, topic_name, lab.flow)
    lab.daemons += [made.to_b, made.to_c]
    create(made.a, topic_name, PARTITIONS)
    produce(made.a, topic_name, numbered(300))
    for daemon in (made.to_b, made.to_c):
        daemon.start()
    for target in (made.b, made.c):
        wait_copied(made.a, target, topic_name)
    return made


def test_a_follower_goes_on_from_the_new_primary(world: Regions) -> None:
    """It lags when the source is lost; afterwards both logs are the same, and nothing was copied a second time."""
    world.to_c.freeze()
    produce(world.a, world.topic, numbered(90, first=300))
    wait_copied(world.a, world.b, world.topic)
    time.sleep(6.0)  # until the source's ends were recorded
    world.a.kill()
    world.to_c.thaw()
    before = bounds(world.c, world.topic)
    failover = world.to_b.cli("failover", f"{world.flow}-b", "--confirm", f"{world.flow}-b", "--wait")
    assert failover.returncode == 0, failover.stdout + failover.stderr
    produce(world.b, world.topic, numbered(60, first=390))

    told = world.repoint("--dry-run")
    assert f"from a to b: {PARTITIONS} partitions go on in place" in told, told
    assert world.source_of(world.to_c)[0] == "a"
    began = time.monotonic()
    assert "ordered" in world.repoint("--yes", "--reason", "a is lost")
    wait_copied(world.b, world.c, world.topic)
    print(f"followed after {time.monotonic() - began:.1f} s")  # noqa: T201
    assert world.source_of(world.to_c) == ("b", "ACTIVE")
    there, here = read_all(world.b, world.topic), read_all(world.c, world.topic)
    assert_same(world.topic, there, here)
    assert sum(map(len, here.values())) == 450
    assert all(start == before[number][0] for number, (start, _) in bounds(world.c, world.topic).items())
    assert "already there" in world.repoint("--yes")

    # A daemon with the old file, started again, still follows; with the new one, too.
    world.to_c.stop()
    world.to_c.start()
    assert world.source_of(world.to_c) == ("b", "ACTIVE")
    world.to_c.stop()
    world.to_c.document["flows"][f"{world.flow}-c"]["from"] = "b"
    world.to_c.write()
    world.to_c.start()
    produce(world.b, world.topic, numbered(30, first=450))
    wait_copied(world.b, world.c, world.topic)
    assert_same(world.topic, read_all(world.b, world.topic), read_all(world.c, world.topic))


def test_a_follower_that_is_ahead_is_named(world: Regions) -> None:
    """What only it holds is told with its offset and times, and stops that partition alone."""
    world.to_b.stop()
    produce(world.a, world.topic, ({"value": b"ahead %d" % at, "partition": 0} for at in range(20)))
    wait_copied(world.a, world.c, world.topic)
    world.a.kill()
    world.to_b.start(ready_seconds=0)
    order = ("failover", f"{world.flow}-b", "--confirm", f"{world.flow}-b", "--wait")

    def failed_over() -> bool:
        return world.to_b.cli(*order).returncode == 0

    wait_until("b is open", failed_over)
    produce(world.b, world.topic, ({"value": b"after %d" % at, "partition": at % PARTITIONS} for at in range(60)))
    document = json.loads(world.repoint("--dry-run", "-o", "json"))
    assert (document["status"], document["goes_on"], document["stopped_count"]) == ("would_move", 2, 1)
    [ahead] = document["stopped"]
    assert (ahead["topic"], ahead["partition"], ahead["standing"]) == (world.topic, 0, "different")
    end = bounds(world.b, world.topic)[0][1]
    assert ahead["difference"]["offset"] < end
    assert ahead["difference"]["ours_ms"] is not None
    world.repoint("--yes")
    found = world.to_c.wait_state(world.topic, "FAULTED", seconds=60)
    assert found["reason"] in {"content_mismatch", "source_truncated"}, found

    def others_are_there() -> bool:
        ours, theirs = bounds(world.c, world.topic), bounds(world.b, world.topic)
        return all(ours[number][1] >= theirs[number][1] for number in (1, 2))

    wait_until("the other partitions follow", others_are_there)


def test_what_cannot_be_moved_stays(world: Regions) -> None:
    """An unknown cluster, its own target, a flow whose target is open; and a file that names another source."""
    done = world.to_c.cli("flow", "repoint", f"{world.flow}-c", "--from", "nowhere")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "names no cluster 'nowhere'" in done.stderr
    done = world.to_c.cli("flow", "repoint", f"{world.flow}-c", "--from", "c", "--yes")
    assert done.returncode != 0
    assert "its own target" in done.stderr
    world.to_c.stop()
    world.to_c.document["flows"][f"{world.flow}-c"]["from"] = "b"
    world.to_c.write()
    world.to_c.start(ready_seconds=0)

    def waits() -> bool:
        return "flow repoint" in str(world.to_c.flow().get("reason"))

    wait_until("it waits for the order", waits, 60)
    produce(world.b, world.topic, [{"value": b"not copied"}])  # b is closed to nobody here: it diverges from a
    told = world.repoint("--yes")
    assert "ordered" in told, told
    wait_until("it copies from b", lambda: world.source_of(world.to_c) == ("b", "ACTIVE"), 60)
    wait_copied(world.b, world.c, world.topic)
    delete(world.c, world.topic)
