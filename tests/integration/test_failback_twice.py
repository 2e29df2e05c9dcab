"""A failback that is ordered twice: one after the other, from two daemons at once, and while it is switched back."""

from __future__ import annotations

from functools import partial

import pytest

from replicator.devkit import Cluster
from replicator.model.spec import Isolation
from replicator.model.switch.terms import StepName
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, Record, assert_equal, read_all, wait_until
from tests.integration.load import produce
from tests.integration.test_failover import LOST, failed_over, lost_source, tail_of
from tests.integration.test_switch_kills import wait_step
from tests.integration.test_switchover import PARTITIONS, at_once, beside, flow_of, last_switch, order, spread, switches

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

TAILS = pytest.mark.parametrize("lost", [LOST, 0], ids=["with a tail", "without"])


def failback(flow: str) -> tuple[str, ...]:
    """Return the order."""
    return ("failback", flow, "--producers-stopped", "--yes")


def old_source_is_back(
    source: Cluster, west: Kafka, topic: str, lab: Lab, lost: int
) -> tuple[Daemon, dict[int, list[Record]]]:
    """Fail over, write to the target, and start the old source again; return what it held."""
    daemon = lost_source(source, west, topic, lab, lost=lost)
    daemon.thaw()
    failed_over(daemon, west, topic, lab)
    produce(west, topic, spread(60, 1000))
    source.start()
    wait_until("the tail is measured", lambda: tail_of(daemon, lab.flow) == lost, 60)
    return daemon, read_all(source, topic)


def came_back_once(daemon: Daemon, source: Kafka, west: Kafka, topic: str, lab: Lab) -> None:
    """One failback and one switchover of the other flow; both logs hold all that was agreed on, and nothing else."""
    back = f"{lab.flow}-back"
    (ordered,) = switches(daemon, lab.flow, "failback")
    assert switches(daemon, back, "switchover") == [f"{ordered}-back"]
    assert last_switch(daemon, back)["known_loss"] == 0
    assert flow_of(daemon, lab.flow)["state"] == "ACTIVE"
    assert flow_of(daemon, back)["state"] == "SWITCHED_OVER"
    produce(source, topic, spread(30, 2000))
    found = assert_equal(source, west, topic)
    numbers = (*range(300), *range(1000, 1060), *range(2000, 2030))
    wanted = {part: [b"%d" % at for at in numbers if at % PARTITIONS == part] for part in range(PARTITIONS)}
    wanted[0].insert(100, b"kept")
    assert {part: [one.value for one in some] for part, some in found.items()} == wanted


def exported_once(west: Kafka, topic: str, epoch: int, before: dict[int, list[Record]]) -> None:
    """What the old source held too many stands aside, each record once."""
    exported = read_all(west, f"{topic}.divergent.{epoch}", isolation=Isolation.READ_COMMITTED)
    tail = [one.value for one in before[0] if (one.value or b"").startswith(b"lost")]
    assert {part: [one.value for one in some] for part, some in exported.items()} == {0: tail, 1: [], 2: []}


@TAILS
def test_one_after_the_other(west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster, lost: int) -> None:
    """Each command twice, also the agreement, also once all is done: the second one changes nothing, and says so."""
    source = make_cluster()
    daemon, before = old_source_is_back(source, west, topic_name, lab, lost)
    epoch, verb = last_switch(daemon, lab.flow)["epoch"], failback(lab.flow)
    if lost:
        for _ in range(2):
            assert f"holds {lost} offsets that were never copied" in order(daemon, *verb, code=3)
            assert read_all(source, topic_name) == before, "nothing was agreed to yet"
            exported_once(west, topic_name, epoch, before)
        agree = ("failback", lab.flow, "--confirm", last_switch(daemon, lab.flow)["confirm"])
        for _ in range(2):
            assert "nothing is lost" in order(daemon, *agree)
        exported_once(west, topic_name, epoch, before)
    else:
        assert "nothing is lost" in order(daemon, *verb)
    for _ in range(2):
        assert "already done" in order(daemon, *verb)
    came_back_once(daemon, source, west, topic_name, lab)


@TAILS
def test_from_two_daemons_at_once(west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster, lost: int) -> None:
    """Each with a coordinator and a store of its own: one failback, that both follow."""
    source = make_cluster()
    first, before = old_source_is_back(source, west, topic_name, lab, lost)
    epoch, verb = last_switch(first, lab.flow)["epoch"], failback(lab.flow)
    daemons = (first, beside(first, lab))
    told = at_once(daemons, *verb)
    if lost:
        assert [one[0] for one in told] == [3, 3], told
        assert read_all(source, topic_name) == before, "nothing was agreed to yet"
        digests = {last_switch(daemon, lab.flow)["confirm"] for daemon in daemons}
        told = at_once(daemons, "failback", lab.flow, "--confirm", *digests)
        exported_once(west, topic_name, epoch, before)
    assert [one[0] for one in told] == [0, 0], told
    for daemon in daemons:
        assert "already done" in order(daemon, *verb)
        came_back = wait_until("it is switched back", partial(switches, daemon, f"{lab.flow}-back", "switchover"))
        assert len(came_back) == 1
    came_back_once(first, source, west, topic_name, lab)


@TAILS
@pytest.mark.parametrize("step", [StepName.BEGIN_FENCE, StepName.PROMOTE])
def test_while_it_is_switched_back(
    west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster, lost: int, step: StepName
) -> None:
    """Whoever carries it out hangs while neither side copies: the second order follows the first, it begins nothing."""
    source = make_cluster()
    first, before = old_source_is_back(source, west, topic_name, lab, lost)
    epoch, verb = last_switch(first, lab.flow)["epoch"], failback(lab.flow)
    second = beside(first, lab)
    order(first, *verb, "--no-wait")
    if lost:
        confirm = wait_until("it waits for an agreement", lambda: last_switch(first, lab.flow)["confirm"])
        order(first, "failback", lab.flow, "--confirm", confirm, "--no-wait")
    wait_step(first, step, seen=1)
    first.freeze()
    order(second, *verb)
    first.thaw()
    wait_until("it is switched back", lambda: flow_of(second, f"{lab.flow}-back")["state"] == "SWITCHED_OVER", 60)
    came_back_once(second, source, west, topic_name, lab)
    if lost:
        exported_once(west, topic_name, epoch, before)
