"""Plans are the same for the same seed, keep one node of a cluster harmed at a time, and heal what they harm."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from chaos.faults import RULES, Fault, Place, Snapshot, usable
from chaos.plan import GROW_MAX, PLAN_SECONDS_MIN, SETTLE_SECONDS, Phase, Step, plan

WHOLE = Snapshot(daemons=2, source_nodes=3, target_nodes=3, topics=5)
EVERY = tuple(Fault)
SEEDS = range(40)
SECONDS = 300.0


def seeded(seed: int) -> random.Random:
    """Return draws that are always the same."""
    return random.Random(seed)  # noqa: S311 - plans of tests


def make(seed: int, snapshot: Snapshot = WHOLE, seconds: float = SECONDS) -> tuple[Step, ...]:
    """Plan with every fault that the bench can have."""
    return plan(seeded(seed), snapshot, usable(snapshot, EVERY)[0], seconds)


def spans(steps: tuple[Step, ...], *places: Place) -> list[tuple[float, float, Step]]:
    """Return begin, end and first step of every use of faults with those places, in order."""
    ends = {step.number: step.at_seconds for step in steps if step.phase is Phase.END}
    return [
        (step.at_seconds, ends[step.number], step)
        for step in steps
        if step.phase is Phase.BEGIN and RULES[step.fault].place in places
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_is_a_plan(seed: int) -> None:
    """The same seed makes the same plan, another seed another one."""
    assert make(seed) == make(seed)
    assert make(seed) != make(seed + 1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("places", [(Place.TARGET_NODE, Place.TARGET_LEADER), (Place.SOURCE_NODE,)])
def test_one_node_of_a_cluster_at_a_time(seed: int, places: tuple[Place, ...]) -> None:
    """The next one is harmed only after the one before it has settled."""
    found = spans(make(seed), *places)

    assert found
    assert all(before[1] + SETTLE_SECONDS <= after[0] + 0.002 for before, after in pairwise(found))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_daemon_has_one_fault_at_a_time(seed: int) -> None:
    """Also the command that pauses the flow finds its daemon running."""
    for number in range(WHOLE.daemons):
        found = [
            span
            for span in spans(make(seed), Place.DAEMON, Place.FLOW)
            if RULES[span[2].fault].place is Place.FLOW or span[2].place == number
        ]
        assert found
        assert all(before[1] <= after[0] + 0.002 for before, after in pairwise(found))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("seconds", [PLAN_SECONDS_MIN, 60.0, SECONDS])
def test_everything_is_healed(seed: int, seconds: float) -> None:
    """What begins ends, once, later, and within the run; changes without an end have none."""
    steps = make(seed, seconds=seconds)

    assert [step.at_seconds for step in steps] == sorted(step.at_seconds for step in steps)
    for begin in (step for step in steps if step.phase is Phase.BEGIN):
        length = RULES[begin.fault].seconds
        ends = [step for step in steps if step.number == begin.number and step.phase is Phase.END]
        assert len(ends) == (length is not None)
        for end in ends:
            assert length is not None
            assert (end.fault, end.place) == (begin.fault, begin.place)
            assert length[0] - 0.002 <= end.at_seconds - begin.at_seconds <= length[1] + 0.002
            assert end.at_seconds <= seconds + 0.001


@pytest.mark.parametrize("seed", SEEDS)
def test_every_fault_comes_up(seed: int) -> None:
    """Five minutes are enough for each of them, and topics do not grow without end."""
    steps = make(seed)

    assert {step.fault for step in steps} == set(EVERY)
    for topic in range(WHOLE.topics):
        assert sum(1 for step in steps if step.fault is Fault.GROW and step.place == topic) <= GROW_MAX


@pytest.mark.parametrize("seed", SEEDS)
def test_apart_means_one_at_a_time(seed: int) -> None:
    """The next fault begins so many seconds after the end of the one before it."""
    steps = plan(seeded(seed), WHOLE, EVERY, SECONDS, apart_seconds=10.0)

    for before, after in pairwise(steps):
        if after.number == before.number:
            continue
        assert after.phase is Phase.BEGIN
        assert after.at_seconds - before.at_seconds >= 10.0 - 0.002


def test_places_exist() -> None:
    """A plan names only daemons, nodes, links and topics that there are."""
    limits = {
        Place.DAEMON: range(WHOLE.daemons),
        Place.TARGET_NODE: range(1, WHOLE.target_nodes + 1),
        Place.TARGET_LEADER: range(WHOLE.topics),
        Place.SOURCE_NODE: range(1, WHOLE.source_nodes + 1),
        Place.LINK: range(2),
        Place.FLOW: range(1),
        Place.TOPIC: range(WHOLE.topics),
    }

    for seed in SEEDS:
        assert all(step.place in limits[RULES[step.fault].place] for step in make(seed))


def test_what_a_bench_cannot_do_is_left_out() -> None:
    """Each fault that is left out comes with its reason."""
    poor = Snapshot(1, source_nodes=1, target_nodes=3, topics=1, no_toxics="no go", no_disks="not root")

    faults, reasons = usable(poor, EVERY)

    assert reasons[Fault.SLICER] == "no go"
    assert reasons[Fault.STATE_DISK] == "not root"
    assert "1 node" in reasons[Fault.SOURCE_KILL]
    assert set(faults) == set(EVERY) - set(reasons)
    assert {step.fault for step in plan(seeded(1), poor, faults, SECONDS)} == set(faults)


def test_no_faults_no_steps() -> None:
    """A run without faults is a run."""
    assert plan(seeded(1), WHOLE, (), SECONDS) == ()
