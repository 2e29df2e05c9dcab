"""What a rehearsal says of the facts: each one alone turns exactly its own finding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicator.core.switch.readiness import judge
from replicator.core.switch.readiness_facts import ReadinessFacts, SideFacts, TopicFacts
from replicator.model.operations.report import Level
from replicator.model.spec import Objectives
from replicator.model.status.groups import GroupKind, GroupState, GroupStatus
from replicator.model.status.snapshots import FlowStatus, MirrorStatus, PartitionStatus, ShardStatus
from replicator.model.status.states import FlowState, MirrorState, Reason

PARTITION = PartitionStatus(0, MirrorState.ACTIVE, holder="a")
MIRROR = MirrorStatus("orders", "orders", MirrorState.ACTIVE, partitions=(PARTITION,))
STATUS = FlowStatus(
    "f",
    "uid",
    "east",
    "west",
    FlowState.ACTIVE,
    lag_records=10,
    rpo_seconds=1.0,
    source_seen_age_seconds=0.5,
    coordinator_answers=True,
    shards=(ShardStatus(0, "a", held=True, epoch=1),),
    mirrors=(MIRROR,),
)
TOPIC = TopicFacts("orders", 3, 3, 3, 2, 2)
FACTS = ReadinessFacts(
    Objectives(30.0, 50_000),
    STATUS,
    SideFacts("east", None, "E", "E", 0.1, markers_allowed=True),
    SideFacts("west", None, "W", "W", -0.2, markers_allowed=True),
    (TOPIC,),
)


def found(facts: ReadinessFacts) -> list[tuple[str, str]]:
    """Return what is not green."""
    return [(check.level.value, check.name) for check in judge(facts).checks if check.level is not Level.OK]


def status(**changed: Any) -> ReadinessFacts:
    """Return the facts with another status."""
    return replace(FACTS, status=replace(STATUS, **changed))


def partition(**changed: Any) -> ReadinessFacts:
    """Return the facts with another partition."""
    return status(mirrors=(replace(MIRROR, partitions=(replace(PARTITION, **changed),)),))


def test_all_is_well() -> None:
    """Every finding is green, and there is one for each thing that was looked at."""
    assert found(FACTS) == []
    names = {check.name for check in judge(FACTS).checks}
    assert names == {
        "reachable", "cluster id", "leases", "mirrors", "writers", "rpo", "lag", "transactions", "replicas", "fence",
        "clocks",
    }  # fmt: skip


def test_somebody_else_writes_to_a_mirror() -> None:
    """That is red: what is behind is not on the target. Not known is yellow."""
    written = replace(FACTS, foreign=(("t", 1, 4), ("t", 2, 1)))
    assert found(written) == [("fail", "writers")]
    assert any("5 offsets to t-1, t-2" in check.text for check in judge(written).checks)
    assert found(replace(FACTS, foreign=None)) == [("warn", "writers")]


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        (replace(FACTS, target=replace(FACTS.target, unreachable="down")), [("fail", "reachable")]),
        (replace(FACTS, source=replace(FACTS.source, unreachable="down")), [("warn", "reachable")]),
        (replace(FACTS, target=replace(FACTS.target, cluster_id="X")), [("fail", "cluster id")]),
        (replace(FACTS, target=replace(FACTS.target, markers_allowed=False)), [("warn", "fence")]),
        (replace(FACTS, target=replace(FACTS.target, markers_allowed=None)), [("warn", "fence")]),
        (replace(FACTS, markers_shown=None), [("warn", "fence")]),
        (replace(FACTS, markers_shown=False), [("fail", "fence")]),
        (replace(FACTS, source=replace(FACTS.source, clock_ahead_seconds=-9.0)), [("warn", "clocks")]),
        (replace(FACTS, source=replace(FACTS.source, clock_ahead_seconds=None)), [("warn", "clocks")]),
        (
            replace(FACTS, source=replace(FACTS.source, clock_ahead_seconds=None, clock_offered=False)),
            [("warn", "clocks")],
        ),
        (status(coordinator_answers=False), [("warn", "coordinator")]),
        (status(shards=(ShardStatus(0, None, held=False, epoch=None),)), [("fail", "leases")]),
        (status(mirrors=()), [("warn", "mirrors")]),
        (status(mirrors=(replace(MIRROR, state=MirrorState.FAULTED),)), [("fail", "mirrors")]),
        (
            status(mirrors=(MIRROR, replace(MIRROR, state=MirrorState.FAULTED, reason=Reason.SOURCE_MISSING))),
            [("warn", "mirrors")],
        ),
        (status(mirrors=(replace(MIRROR, state=MirrorState.SEEDING),)), [("fail", "mirrors")]),
        (status(mirrors=(replace(MIRROR, state=MirrorState.PAUSED),)), [("warn", "mirrors")]),
        (status(rpo_seconds=31.0), [("fail", "rpo")]),
        (status(rpo_seconds=None), [("warn", "rpo")]),
        (status(lag_records=50_001), [("fail", "lag")]),
        (status(lag_records=None), [("warn", "lag")]),
        (status(source_seen_age_seconds=99.0), [("warn", "source seen"), ("warn", "transactions")]),
        (status(source_seen_age_seconds=None), [("warn", "source seen"), ("warn", "transactions")]),
        (status(flow_uid=None, mirrors=(), shards=()), [("warn", "leases"), ("warn", "mirrors")]),
        (replace(FACTS, topics=(TOPIC, replace(TOPIC, source_replicas=None))), [("warn", "replicas")]),
        (replace(FACTS, topics=(TopicFacts("t", 3, None, None, 2, None),)), [("warn", "replicas")]),
        (replace(FACTS, topics=(replace(TOPIC, target_min_in_sync=None),)), [("warn", "replicas")]),
        (partition(open_transaction_seconds=61.0), [("fail", "transactions")]),
        (partition(open_transaction_seconds=59.0), []),
        (partition(reason=Reason.HELD_ELSEWHERE, holder="b"), [("warn", "daemons")]),
        (replace(FACTS, topics=(replace(TOPIC, target_replicas=2, target_in_sync=2),)), [("warn", "replicas")]),
        (replace(FACTS, topics=(replace(TOPIC, target_in_sync=1),)), [("fail", "replicas")]),
        (replace(FACTS, topics=(replace(TOPIC, target_min_in_sync=1),)), [("warn", "replicas")]),
        (replace(FACTS, topics=(replace(TOPIC, target_leaderless=1),)), [("fail", "replicas")]),
        (
            replace(FACTS, topics=(TopicFacts("t", 1, 1, 1, 2, 2),)),
            [],  # no broker asks for more replicas than there are
        ),
    ],
)
def test_one_thing_is_wrong(facts: ReadinessFacts, wanted: list[tuple[str, str]]) -> None:
    """It is found, and nothing else; each red or yellow finding says what helps."""
    assert found(facts) == wanted
    assert all(check.fix for check in judge(facts).checks if check.level is Level.FAIL)


def group(name: str, state: GroupState, reread: int | None = 0) -> GroupStatus:
    """Return a group that follows."""
    return GroupStatus("f", name, GroupKind.CLASSIC, state, reread_records=reread)


def test_consumer_groups() -> None:
    """Each that would not go on where it is makes it yellow, with what helps."""
    fine = group("a", GroupState.IN_STEP)
    assert found(replace(FACTS, groups=(fine, group("gone", GroupState.GONE_ON_SOURCE)))) == []
    assert [check.level for check in judge(replace(FACTS, groups=(fine,))).checks if check.name == "groups"] == [
        Level.OK
    ]
    for other, text in (
        (group("b", GroupState.ACTIVE_ON_TARGET), "b would not keep their position"),
        (group("b", GroupState.IN_STEP, 1200), "1,200 records again"),
    ):
        facts = replace(FACTS, groups=(fine, other))
        assert found(facts) == [("warn", "groups")]
        assert any(text in check.text for check in judge(facts).checks)
    assert found(replace(FACTS, groups_wait_for="orders-1 is not copied")) == [("warn", "groups")]


def test_a_source_that_is_gone_is_said_with_the_age_of_what_was_seen() -> None:
    """A failover's loss is stated by it."""
    facts = replace(status(source_seen_age_seconds=99.0), source=replace(FACTS.source, unreachable="down"))
    assert found(facts) == [("warn", "reachable"), ("warn", "source seen"), ("warn", "transactions")]
    [check] = [check for check in judge(facts).checks if check.name == "source seen"]
    assert "at least" in check.text


def test_what_is_open_on_both_sides_is_not_switched() -> None:
    """Red, whatever else is green; and no finding where only one side is open."""
    assert ("fail", "switch") in found(replace(FACTS, both_ways=True))
    assert not any(name == "switch" for _, name in found(FACTS))


def test_what_a_version_does_not_offer_no_right_brings() -> None:
    """Kafka with a ZooKeeper tells no time, whatever it allows; one that could is asked for the right."""
    old = replace(FACTS, source=replace(FACTS.source, clock_ahead_seconds=None, clock_offered=False))
    (check,) = (one for one in judge(old).checks if one.name == "clocks")
    assert "the version of Kafka on east does not report the time" in check.text
    assert "grant" not in check.fix
    refused = replace(FACTS, source=replace(FACTS.source, clock_ahead_seconds=None))
    (check,) = (one for one in judge(refused).checks if one.name == "clocks")
    assert check.fix == "grant Describe on the cluster"
