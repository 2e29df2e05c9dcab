"""Somebody dies at every step of a failover and of the failback behind it; the same command again goes on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest

from replicator.devkit import Cluster, start_clusters
from replicator.model.spec import Isolation
from replicator.model.switch.terms import StepName
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import assert_equal, create, read_all, wait_copied, wait_until
from tests.integration.load import produce
from tests.integration.test_failback_twice import failback
from tests.integration.test_switch_kills import again, answers, copies, steps_told, wait_step
from tests.integration.test_switchover import PARTITIONS, both_ways, flow_of, last_switch, order, spread

FAILOVER = (
    StepName.PREFLIGHT,
    StepName.BEGIN_FENCE,
    StepName.FENCE,
    StepName.VERIFY_FENCE,
    StepName.PROMOTE,
    StepName.CLAMP_GROUPS,
    StepName.RECORD_CUT,
    StepName.OPEN_TARGET,
)
FAILBACK = (
    StepName.PREFLIGHT,
    StepName.PROVE_QUIESCENCE,
    StepName.FIND_TAILS,
    StepName.EXPORT_TAILS,
    StepName.CONFIRM,
    StepName.RESTORE_TOPICS,
    StepName.CATCH_UP,
    StepName.SWITCH_BACK,
)
LOST = 9


@dataclass(frozen=True)
class Scene:
    """Two clusters, a daemon with a coordinator of its own process, and the flow between them."""

    source: Cluster
    target: Cluster
    daemon: Daemon
    coordinator: Daemon
    topic: str
    flow: str

    def victim(self, name: str) -> Daemon | Cluster:
        """Return who dies."""
        found: Daemon | Cluster = getattr(self, name)
        return found

    def lose_source(self, first: int, lost: int) -> None:
        """Copy some records; then the source takes some more that nobody copies, and dies."""
        produce(self.source, self.topic, spread(30, first))
        wait_copied(self.source, self.target, self.topic)
        self.daemon.kill()
        produce(self.source, self.topic, ({"value": b"lost", "partition": at % 2} for at in range(lost)))
        self.source.kill()
        self.daemon.start(ready_seconds=0)
        wait_until("it answers", partial(answers, self.daemon, self.flow))

    def fail_over(self, step: StepName, dies: Daemon | Cluster) -> int:
        """Fail over, while somebody dies; return the epoch of the fence."""
        verb = ("failover", self.flow, "--confirm", self.flow)
        seen = steps_told(self.daemon, step)
        order(self.daemon, *verb, "--no-wait")
        wait_step(self.daemon, step, seen)
        if dies is not self.source:
            again(dies, self.daemon, self.flow)
        order(self.daemon, *verb)
        switch = last_switch(self.daemon, self.flow)
        assert (switch["verb"], switch["outcome"]) == ("failover", "done"), (step, switch)
        return int(switch["epoch"])

    def fail_back(self, step: StepName, dies: Daemon | Cluster, *, asks: bool) -> None:
        """Fail back, while somebody dies, and give each command again."""
        verb = failback(self.flow)
        seen = steps_told(self.daemon, step)
        order(self.daemon, *verb, "--no-wait")
        agreed = not asks
        if asks and FAILBACK.index(StepName.CONFIRM) <= FAILBACK.index(step):
            self._agree()
            agreed = True
        wait_step(self.daemon, step, seen)
        again(dies, self.daemon, self.flow)
        if not agreed:
            order(self.daemon, *verb, code=3)
            self._agree()
        order(self.daemon, *verb)
        wait_until("it copies", partial(copies, self.daemon, self.flow))
        switch = last_switch(self.daemon, self.flow)
        assert (switch["verb"], switch["outcome"]) == ("failback", "done"), (step, switch)
        back = last_switch(self.daemon, f"{self.flow}-back")
        assert (back["id"], back["known_loss"]) == (f"{switch['id']}-back", 0), (step, back)
        wait_until("it is over", lambda: flow_of(self.daemon, f"{self.flow}-back")["state"] == "SWITCHED_OVER")

    def _agree(self) -> None:
        confirm = wait_until("it waits for an agreement", lambda: last_switch(self.daemon, self.flow)["confirm"])
        order(self.daemon, "failback", self.flow, "--confirm", confirm, "--no-wait")


@pytest.fixture
def scene(topic_name: str, lab: Lab, make_cluster: MakeCluster) -> Scene:
    """A flow that copies."""
    clusters = [make_cluster(start=False) for _ in range(2)]
    start_clusters(clusters)
    source, target = clusters
    create(source, topic_name, PARTITIONS)
    daemon = both_ways(lab, source, target, topic_name)
    coordinator = lab.coordinator(daemon).start()
    daemon.document["coordinator"] |= {"endpoints": [coordinator.rpc]}
    daemon.write()
    return Scene(source, target, daemon.start(ready_seconds=0), coordinator, topic_name, lab.flow)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("victim", "lost"), [("daemon", LOST), ("daemon", 0), ("coordinator", LOST), ("source", LOST), ("target", LOST)]
)
def test_somebody_dies_at_every_step(scene: Scene, victim: str, lost: int) -> None:
    """There without the source, and back with it, again and again, killed one step later each time."""
    dies = scene.victim(victim)
    for turn, (step, back_step) in enumerate(zip(FAILOVER, FAILBACK, strict=True)):
        scene.lose_source(1000 * turn, lost)
        epoch = scene.fail_over(step, dies)
        produce(scene.target, scene.topic, spread(30, 1000 * turn + 100))
        scene.source.start()
        scene.fail_back(back_step, dies, asks=lost > 0)
        if lost:
            exported = read_all(scene.target, f"{scene.topic}.divergent.{epoch}", isolation=Isolation.READ_COMMITTED)
            assert sorted(map(len, exported.values())) == [0, LOST // 2, LOST - LOST // 2], back_step
        assert_equal(scene.source, scene.target, scene.topic)
    wanted = [at + 1000 * turn for turn in range(len(FAILBACK)) for at in (*range(30), *range(100, 130))]
    found = read_all(scene.target, scene.topic)
    assert {part: [one.value for one in some] for part, some in found.items()} == {
        part: [b"%d" % at for at in wanted if at % PARTITIONS == part] for part in range(PARTITIONS)
    }
