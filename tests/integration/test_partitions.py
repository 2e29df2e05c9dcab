"""Parts of the network go silent under load, by a real Toxiproxy: both daemons may hold a shard, and double nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.toxics import Toxics
from chaos.toxiproxy import ensure_server, start_server
from replicator.devkit import Cluster, free_base_port
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import assert_equal, create, wait_until
from tests.integration.load import Load
from tests.integration.test_leases import PARTITIONS, SHARDS, copied_by, is_even, wait_alone

_SILENT_SECONDS = 8.0
"""More than twice the TTL."""


@pytest.fixture
def toxics(tmp_path: Path) -> Iterator[Toxics]:
    """A Toxiproxy server of the test's own."""
    port = free_base_port(1)
    server = start_server(ensure_server(), port, tmp_path / "toxiproxy.log", seed=1)
    yield Toxics(port)
    server.kill()


class Network:
    """Two clusters and a coordinator; the first daemon reaches all of them through proxies, the second directly."""

    def __init__(self, make_cluster: MakeCluster, toxics: Toxics, lab: Lab, topic: str) -> None:
        self.toxics = toxics
        self.source, self.target = (self._cluster(make_cluster, name) for name in ("there", "here"))
        create(self.source, topic, PARTITIONS)
        ends = [{"bootstrap": cluster.config.repl_bootstrap} for cluster in (self.source, self.target)]
        self.one = lab.daemon(ends[0], ends[1], topic, replication_factor=1, shards=SHARDS)
        self.two = lab.daemon(self.source, self.target, topic, replication_factor=1, shards=SHARDS)
        self.coordinator = lab.coordinator(self.two).start()
        proxied = free_base_port(1)
        toxics.add_proxy("coordinator", proxied, int(self.coordinator.rpc.rsplit(":", 1)[1]))
        for daemon, address in ((self.one, f"127.0.0.1:{proxied}"), (self.two, self.coordinator.rpc)):
            daemon.document["coordinator"] |= {"endpoints": [address]}
            daemon.write()
            daemon.start()
        wait_until("the load is spread", lambda: is_even(self.coordinator, 2), 60.0)

    def _cluster(self, make_cluster: MakeCluster, name: str) -> Cluster:
        base = free_base_port(1)
        cluster = make_cluster(base_port=base, repl_advertised={1: base + 4}, start=False)
        self.toxics.add_proxy(name, base + 4, cluster.config.ports(1).repl)
        cluster.start()
        return cluster

    def silence(self, *proxies: str, upstream: bool = True, downstream: bool = True) -> None:
        """Let nothing through, in one direction or both; connections stay up."""
        for proxy in proxies:
            for wanted, name in ((upstream, "up"), (downstream, "down")):
                if wanted:
                    self.toxics.add(proxy, name, "timeout", upstream=name == "up", attributes={"timeout": 0})

    def heal(self) -> None:
        """Let everything through."""
        for proxy in ("there", "here", "coordinator"):
            for name in self.toxics.names(proxy):
                self.toxics.remove(proxy, name)


def _runs(daemon: Daemon) -> bool:
    return daemon.process.poll() is None


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_daemon_is_cut_off_from_everything(
    make_cluster: MakeCluster, toxics: Toxics, topic_name: str, lab: Lab
) -> None:
    """The other one takes over; what the first had sent may still arrive when the network is back. Three times."""
    net = Network(make_cluster, toxics, lab, topic_name)
    with Load(net.source, {topic_name: PARTITIONS}, per_second=3000) as load:
        for _ in range(3):
            wait_until("the load is spread", lambda: is_even(net.coordinator, 2), 60.0)
            net.silence("there", "here", "coordinator")
            wait_alone(net.two, topic_name)
            time.sleep(1.0)
            net.heal()
    assert _runs(net.one)
    load.check(topic_name, assert_equal(net.source, net.target, topic_name))


@pytest.mark.long
@pytest.mark.timeout(400)
def test_only_the_coordinator_is_out_of_reach(
    make_cluster: MakeCluster, toxics: Toxics, topic_name: str, lab: Lab
) -> None:
    """Requests lost, answers lost, both: whoever copies goes on, and nobody else begins."""
    net = Network(make_cluster, toxics, lab, topic_name)
    with Load(net.source, {topic_name: PARTITIONS}, per_second=2000) as load:
        for upstream, downstream in ((True, False), (False, True), (True, True)):
            wait_until("the load is spread", lambda: is_even(net.coordinator, 2), 60.0)
            before = copied_by(net.one, topic_name), copied_by(net.two, topic_name)
            net.silence("coordinator", upstream=upstream, downstream=downstream)
            time.sleep(_SILENT_SECONDS)
            assert (copied_by(net.one, topic_name), copied_by(net.two, topic_name)) == before
            assert "no coordinator answers" in str(net.one.flow()["reason"])
            net.heal()
    load.check(topic_name, assert_equal(net.source, net.target, topic_name))


@pytest.mark.long
@pytest.mark.timeout(400)
def test_answers_of_the_target_are_lost(make_cluster: MakeCluster, toxics: Toxics, topic_name: str, lab: Lab) -> None:
    """Its writes and its signs of life go on and take effect, and it hears of nothing: both work for a while."""
    net = Network(make_cluster, toxics, lab, topic_name)
    with Load(net.source, {topic_name: PARTITIONS}, per_second=3000) as load:
        for _ in range(2):
            wait_until("the load is spread", lambda: is_even(net.coordinator, 2), 60.0)
            net.silence("here", upstream=False)
            time.sleep(_SILENT_SECONDS)
            net.heal()
    assert _runs(net.one)
    load.check(topic_name, assert_equal(net.source, net.target, topic_name))
