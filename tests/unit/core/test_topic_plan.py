"""Planning the target topic of a mirror."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.topics.configs import DENIED, LONG_MAX
from replicator.core.topics.plan import (
    CreateTopic,
    GrowTopic,
    MirrorFault,
    RecordedTopic,
    SetConfigs,
    SourceTopic,
    TargetCluster,
    TargetTopic,
    TopicPlan,
    changes_of,
    plan_topic,
)
from replicator.model.spec import FlowSpec, LoopGuard, Pattern, PatternKind, Selection, TopicConfigs
from replicator.model.status.states import Reason

FLOW = FlowSpec("f", "east", "west", Selection((Pattern(PatternKind.GLOB, "*"),)))
BEFORE, AFTER, DIFFERENCE = (f"message.timestamp.{one}.max.ms" for one in ("before", "after", "difference"))
COMMON = ("cleanup.policy", "retention.ms", "retention.bytes", "compression.type", "message.timestamp.type")
KAFKA_2_8, KAFKA_3_9, KAFKA_4 = (
    frozenset({*COMMON, "max.message.bytes", "segment.ms", *limits})
    for limits in ((DIFFERENCE,), (BEFORE, AFTER, DIFFERENCE), (BEFORE, AFTER))
)
CLUSTER = TargetCluster(brokers=3, known_configs=KAFKA_4)
EFFECTIVE = {"max.message.bytes": "1048588", "cleanup.policy": "delete", "retention.ms": "604800000"}
SOURCE = SourceTopic("orders", "s1", 6, 3, {"retention.ms": "1000"}, EFFECTIVE | {"retention.ms": "1000"})


def plan(
    source: SourceTopic = SOURCE,
    target: TargetTopic | None = None,
    flow: FlowSpec = FLOW,
    cluster: TargetCluster = CLUSTER,
    recorded: RecordedTopic | None = None,
) -> TopicPlan:
    """Plan with defaults."""
    return plan_topic(source, target, flow, cluster, target_name="orders", recorded=recorded or RecordedTopic())


def created(made: TopicPlan) -> CreateTopic:
    """Return the one step, which creates the topic."""
    (step,) = made.steps
    assert isinstance(step, CreateTopic)
    return step


def policy(*, exclude: tuple[str, ...] = (), override: dict[str, str] | None = None) -> FlowSpec:
    """Return the flow with these topic_configs."""
    return replace(FLOW, topic_configs=TopicConfigs(exclude, tuple((override or {}).items())))


def result_of(made: TopicPlan, target: TargetTopic | None) -> TargetTopic | None:
    """Return the target once the steps are done."""
    for step in made.steps:
        match step:
            case CreateTopic():
                target = TargetTopic("t1", step.partitions, step.replication_factor, step.configs)
            case GrowTopic():
                assert target is not None
                target = replace(target, partitions=step.total)
            case SetConfigs():
                assert target is not None
                kept = {name: value for name, value in target.configs.items() if name not in step.delete}
                target = replace(target, configs={**kept, **step.values})
            case MirrorFault():
                pass
    return target


def test_a_new_topic_is_shaped_like_the_source() -> None:
    """Partitions, replicas and settings of the source, and what the copy needs."""
    step = created(plan())
    assert (step.name, step.partitions, step.replication_factor) == ("orders", 6, 3)
    assert step.configs == {
        "cleanup.policy": "delete",
        "retention.ms": "1000",
        "compression.type": "producer",
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": LONG_MAX,
        "message.timestamp.after.max.ms": LONG_MAX,
        "max.message.bytes": "1048588",
    }


def test_inherited_retention_is_pinned() -> None:
    """A target whose own default is shorter would delete the copied backlog."""
    step = created(plan(replace(SOURCE, configs={}, effective=EFFECTIVE)))
    assert step.configs["retention.ms"] == "604800000"


def test_replicas_are_capped_at_the_brokers_and_it_is_said() -> None:
    """So is min.insync.replicas at the replicas."""
    source = replace(SOURCE, configs={"min.insync.replicas": "2"})
    made = plan(source, cluster=TargetCluster(brokers=1))
    assert created(made).replication_factor == 1
    assert created(made).configs["min.insync.replicas"] == "1"
    assert any("1 replicas instead of 3" in note for note in made.notes)
    assert any("min.insync.replicas is 1 instead of 2" in note for note in made.notes)


def test_the_flow_can_set_the_replicas() -> None:
    """replication_factor of the flow goes before the source's."""
    assert created(plan(flow=replace(FLOW, replication_factor=2))).replication_factor == 2


@pytest.mark.parametrize("name", [*DENIED, "confluent.placement.constraints", "redpanda.remote.read"])
def test_what_belongs_to_the_source_cluster_is_not_copied(name: str) -> None:
    """Each with a note that says why."""
    made = plan(replace(SOURCE, configs={name: "1"}))
    assert name not in created(made).configs
    assert any(note.startswith(f"{name} is not copied: ") for note in made.notes)


def test_settings_the_target_does_not_know_are_not_copied() -> None:
    """An older or other Kafka would refuse the whole topic."""
    known = frozenset({"retention.ms", "cleanup.policy", "message.timestamp.difference.max.ms"})
    made = plan(replace(SOURCE, configs={"new.thing": "1"}), cluster=TargetCluster(3, known))
    configs = created(made).configs
    assert "new.thing" not in configs
    assert "message.timestamp.before.max.ms" not in configs
    assert configs["message.timestamp.difference.max.ms"] == LONG_MAX


def test_exclude_and_override() -> None:
    """The flow file goes before the source, and the needs of the copy before the flow file."""
    flow = policy(
        exclude=("retention.ms", "compression.type"),
        override={"segment.bytes": "1000000", "message.timestamp.type": "LogAppendTime", "preallocate": "TRUE"},
    )
    made = plan(flow=flow)
    configs = created(made).configs
    assert "retention.ms" not in configs
    assert configs["segment.bytes"] == "1000000"
    assert configs["preallocate"] == "true"
    assert configs["message.timestamp.type"] == "CreateTime"
    assert any("stays CreateTime" in note for note in made.notes)
    assert any("compression.type: needed by the copy" in note for note in made.notes)


def test_large_messages_are_never_refused_by_a_smaller_limit() -> None:
    """max.message.bytes is at least the source's; a higher value of the operator stays."""
    source = replace(SOURCE, effective=EFFECTIVE | {"max.message.bytes": "5000000"})
    assert created(plan(source)).configs["max.message.bytes"] == "5000000"
    assert (
        created(plan(source, flow=policy(override={"max.message.bytes": "9"}))).configs["max.message.bytes"]
        == "5000000"
    )
    target = result_of(plan(source), None)
    assert target is not None
    raised = replace(target, configs={**target.configs, "max.message.bytes": "9000000"})
    assert plan(source, raised).steps == ()
    lowered = replace(target, configs={**target.configs, "max.message.bytes": "100"})
    assert plan(source, lowered).steps == (SetConfigs("orders", {"max.message.bytes": "5000000"}),)


def test_what_is_held_back_until_promotion() -> None:
    """The source's own values of what the copy forces."""
    configs = {"message.timestamp.type": "LogAppendTime", "compression.type": "lz4", "max.message.bytes": "7"}
    made = plan(replace(SOURCE, configs=configs))
    assert made.held_back == {"message.timestamp.type": "LogAppendTime", "compression.type": "lz4"}


def test_growth() -> None:
    """The target follows the source's partition count."""
    target = result_of(plan(), None)
    made = plan(replace(SOURCE, partitions=8), target)
    assert made.steps == (GrowTopic("orders", 8),)
    assert changes_of(made, target, {}) == ("orders: partitions: 6 -> 8",)
    assert changes_of(made, None, {}) == ()


def test_settings_removed_at_the_source_are_removed_where_they_were_ours() -> None:
    """Only while the value is still the one we set."""
    first = plan(replace(SOURCE, configs={"segment.ms": "1000"}))
    target = result_of(first, None)
    assert target is not None
    later = replace(SOURCE, configs={})

    ours = plan(later, target, recorded=RecordedTopic(managed=first.managed))
    assert ours.steps == (SetConfigs("orders", {}, ("segment.ms",)),)
    assert changes_of(ours, target, {}) == ("orders: segment.ms: 1000 -> (the cluster's default)",)

    touched = replace(target, configs={**target.configs, "segment.ms": "2000"})
    theirs = plan(later, touched, recorded=RecordedTopic(managed=first.managed))
    assert all(not isinstance(step, SetConfigs) or not step.delete for step in theirs.steps)
    assert any("segment.ms=2000 is set on the target only" in note for note in theirs.notes)


def test_what_the_source_does_not_tell_is_left_as_it_is() -> None:
    """Without its retention a mirror would go by its cluster's own, and lose what was copied."""
    first = plan()
    target = result_of(first, None)
    assert target is not None
    silent = plan(
        replace(SOURCE, configs={"segment.ms": "1000"}, effective={"cleanup.policy": "delete"}),
        target,
        recorded=RecordedTopic(managed=first.managed),
    )

    assert silent.steps == (SetConfigs("orders", {"segment.ms": "1000"}),)
    untold = "max.message.bytes, retention.bytes, retention.ms: left alone"
    assert any(untold in note for note in silent.notes)


def test_what_the_source_names_and_does_not_tell_stays_ours_to_remove() -> None:
    """A setting that comes without a value, or from we do not know where, may be the topic's own still."""
    set_once = plan(replace(SOURCE, configs={**SOURCE.configs, "segment.ms": "1000"}))
    target = TargetTopic("t1", 6, 3, dict(created(set_once).configs))
    recorded = RecordedTopic("s1", "t1", set_once.managed)
    untold = plan(replace(SOURCE, unreported=frozenset({"segment.ms", "retention.ms"})), target, recorded=recorded)
    assert untold.steps == ()
    assert "segment.ms: left alone, as the source does not tell its own" in untold.notes
    assert untold.managed == set_once.managed
    told = plan(SOURCE, target, recorded=replace(recorded, managed=untold.managed))
    assert told.steps == (SetConfigs("orders", {}, ("segment.ms",)),)


def test_what_is_changed_is_told_from_and_to() -> None:
    """Also a setting that the topic inherits; what is set as it is in force already is no change."""
    stood = TargetTopic("t", 1, 3, {"retention.ms": "-1", "min.insync.replicas": "2"})
    in_force = {**stood.configs, "compression.type": "producer", "cleanup.policy": "compact"}
    told = changes_of(plan(replace(SOURCE, partitions=3), stood), stood, in_force)
    assert told[0] == "orders: partitions: 1 -> 3"
    assert "orders: retention.ms: -1 -> 1000" in told
    assert "orders: cleanup.policy: compact -> delete" in told
    assert "orders: message.timestamp.type: (not set) -> CreateTime" in told
    assert not any("compression.type" in one or "min.insync" in one for one in told)


@pytest.mark.parametrize(
    ("source", "target", "recorded", "reason"),
    [
        (SOURCE, TargetTopic("t", 7, 3), RecordedTopic(), Reason.PARTITION_COUNT),
        (SOURCE, None, RecordedTopic(target_id="t"), Reason.TARGET_MISSING),
        (SOURCE, TargetTopic("u", 6, 3), RecordedTopic(target_id="t"), Reason.TARGET_RECREATED),
        (SOURCE, TargetTopic("t", 6, 3), RecordedTopic("s0", "t"), Reason.SOURCE_RECREATED),
    ],
)
def test_faults(source: SourceTopic, target: TargetTopic | None, recorded: RecordedTopic, reason: Reason) -> None:
    """An operator decides; a mirror is never silently made again."""
    made = plan(source, target, recorded=recorded)
    assert made.fault is not None
    assert made.steps == (made.fault,)
    assert made.fault.reason is reason


NAMES = st.sampled_from(
    [
        "retention.ms",
        "cleanup.policy",
        "segment.ms",
        "min.insync.replicas",
        "max.message.bytes",
        "compression.type",
        "message.timestamp.type",
        "unclean.leader.election.enable",
        "confluent.tier.enable",
        "delete.retention.ms",
        "unknown.thing",
    ]
)
VALUES = st.sampled_from(["1", "2", "1048588", "5000000", "TRUE", "compact, delete", "lz4", "LogAppendTime", "-1"])
CONFIGS = st.dictionaries(NAMES, VALUES)
KNOWN = frozenset(
    {"retention.ms", "cleanup.policy", "segment.ms", "min.insync.replicas", "message.timestamp.before.max.ms"}
)


@given(
    source_configs=CONFIGS,
    inherited=CONFIGS,
    target=st.none() | st.builds(TargetTopic, st.just("t1"), st.integers(1, 6), st.integers(1, 3), CONFIGS),
    exclude=st.sets(NAMES),
    override=CONFIGS,
    managed=CONFIGS,
    brokers=st.integers(1, 4),
    known=st.none() | st.just(KNOWN),
)
def test_planning_on_the_result_gives_no_steps(
    source_configs: dict[str, str],
    inherited: dict[str, str],
    target: TargetTopic | None,
    exclude: set[str],
    override: dict[str, str],
    managed: dict[str, str],
    brokers: int,
    known: frozenset[str] | None,
) -> None:
    """Idempotence, for any settings on either side; and what is excluded or foreign on the target stays."""
    source = SourceTopic("orders", "s1", 6, 3, source_configs, EFFECTIVE | inherited | source_configs)
    flow = policy(exclude=tuple(exclude), override=override)
    cluster = TargetCluster(brokers, known)

    first = plan(source, target, flow, cluster, RecordedTopic(managed=managed))
    after = result_of(first, target)
    again = plan(source, after, flow, cluster, RecordedTopic("s1", "t1", first.managed))

    assert again.steps == ()
    assert after is not None
    assert after.configs["compression.type"] == "producer"
    for name, value in (target.configs if target else {}).items():
        if name not in first.managed and name not in managed:
            assert after.configs[name] == value


def test_a_topic_is_compacted_only_once_it_is_seeded() -> None:
    """A broker moves no log start where records are only compacted, and takes no keyless record there."""
    own = {"cleanup.policy": "compact", "retention.ms": "1000"}
    source = replace(SOURCE, configs=own, effective=EFFECTIVE | own | {"retention.bytes": "5000"})
    created = plan(source, None, recorded=RecordedTopic(seeding=True))
    (create,) = created.steps
    assert isinstance(create, CreateTopic)
    kept = {name: create.configs[name] for name in ("cleanup.policy", "retention.ms", "retention.bytes")}
    assert kept == {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}

    target = TargetTopic("t1", 6, 3, create.configs)
    (step,) = plan(source, target, recorded=RecordedTopic("s1", "t1", created.managed)).steps
    assert isinstance(step, SetConfigs)
    assert dict(step.values) == own | {"retention.bytes": "5000"}
    assert step.delete == ()


def test_settings_of_a_topic_that_others_write_to_are_left_alone() -> None:
    """Two flows that each set what the other side has would never come to rest; partitions are only ever added."""
    flow = replace(FLOW, loop_guard=LoopGuard.ORIGIN)
    here = TargetTopic("there", 2, 1, {"retention.ms": "5"})
    source = SourceTopic("orders", "here", 3, 1, {"retention.ms": "7"})
    assert plan_topic(source, here, flow, CLUSTER, target_name="orders").steps == (GrowTopic("orders", 3),)
    wider = replace(here, partitions=4)
    assert plan_topic(source, wider, flow, CLUSTER, target_name="orders").steps == ()
    assert plan_topic(source, wider, FLOW, CLUSTER, target_name="orders").fault is not None


@pytest.mark.parametrize(
    ("known", "limits"),
    [
        (None, set()),
        (KAFKA_2_8, {DIFFERENCE}),
        (KAFKA_3_9, {BEFORE, AFTER, DIFFERENCE}),
        (KAFKA_4, {BEFORE, AFTER}),
    ],
)
def test_a_new_topic_asks_for_nothing_its_broker_does_not_know(known: frozenset[str] | None, limits: set[str]) -> None:
    """One unknown name refuses the whole topic. Up to 3.9 the old limit counts where the new ones are at LONG_MAX."""
    configs = created(plan(cluster=TargetCluster(3, known))).configs
    assert {name for name in configs if name.startswith("message.timestamp.") and name.endswith(".ms")} == limits
    assert all(configs[name] == LONG_MAX for name in limits)
