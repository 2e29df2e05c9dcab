"""What has to be done to a target topic so that it can be the mirror of a source topic.

Pure: facts of both sides in, a frozen plan out. Planning on the result of a plan gives no steps.
The rules for settings are in `replicator.core.topics.configs`.

A copied backlog carries old record times, so the target's retention applies to it at once, as the source's own
would: equal settings (they are pinned) keep the same records. A shorter retention on the target, set with
`topic_configs.override`, deletes the older part of the backlog as soon as it is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from replicator.core.topics.configs import Desired, changes, desired_configs
from replicator.model.spec import FlowSpec
from replicator.model.status.states import Reason


@dataclass(frozen=True, slots=True)
class SourceTopic:
    """A topic of the source.

    `configs` has what is set on the topic itself, `effective` what is in force: at least cleanup.policy, retention.ms,
    retention.bytes and max.message.bytes, as far as the source tells. `unreported` names settings that may be set on
    the topic although the source does not tell.
    """

    name: str
    topic_id: str | None
    partitions: int
    replication_factor: int
    configs: Mapping[str, str] = field(default_factory=dict)
    effective: Mapping[str, str] = field(default_factory=dict)
    unreported: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TargetTopic:
    """The topic on the target, if there is one; `configs` has what is set on the topic itself."""

    topic_id: str | None
    partitions: int
    replication_factor: int
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetCluster:
    """The target: how many brokers are up, and which topic settings it knows (None: not asked)."""

    brokers: int
    known_configs: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class RecordedTopic:
    """What the mirror's record has from earlier: topic ids, and the settings we set on the target.

    `seeding` says that some partition was never active yet: its log start may still have to be moved.
    """

    source_id: str | None = None
    target_id: str | None = None
    managed: Mapping[str, str] = field(default_factory=dict)
    seeding: bool = False


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """Create the target topic."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GrowTopic:
    """Give the target topic `total` partitions."""

    name: str
    total: int


@dataclass(frozen=True, slots=True)
class SetConfigs:
    """Set and remove settings of the target topic."""

    name: str
    values: Mapping[str, str]
    delete: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MirrorFault:
    """The mirror cannot continue until an operator decides (`mirror resolve`)."""

    reason: Reason
    text: str


Step: TypeAlias = CreateTopic | GrowTopic | SetConfigs | MirrorFault


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What is to be done, in order.

    Attributes:
        steps: A fault is the only step.
        notes: One sentence for each decision an operator may wonder about; they call for nothing.
        managed: The settings that are ours once the steps are done; to be kept as `RecordedTopic.managed`.
        held_back: The source's settings that are set only at promotion.
    """

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    managed: Mapping[str, str] = field(default_factory=dict)
    held_back: Mapping[str, str] = field(default_factory=dict)

    @property
    def fault(self) -> MirrorFault | None:
        """The fault, if the plan is one."""
        return next((step for step in self.steps if isinstance(step, MirrorFault)), None)


_NOTHING_RECORDED = RecordedTopic()


def plan_topic(
    source: SourceTopic,
    target: TargetTopic | None,
    flow: FlowSpec,
    cluster: TargetCluster,
    *,
    target_name: str,
    recorded: RecordedTopic = _NOTHING_RECORDED,
) -> TopicPlan:
    """Return what has to be done to the topic `target_name`; `target` is None if it does not exist."""
    fault = _fault(source, target, target_name, recorded, may_be_wider=flow.both_ways)
    if fault is not None:
        return TopicPlan((fault,), managed=recorded.managed)
    replicas, notes = _replicas(source, flow, cluster)
    desired = desired_configs(
        source.configs,
        source.effective,
        flow.topic_configs,
        replication_factor=replicas if target is None else target.replication_factor,
        known=cluster.known_configs,
        seeding=recorded.seeding,
        unreported=source.unreported,
    )
    if target is None:
        create = CreateTopic(target_name, source.partitions, replicas, desired.values)
        return _plan((create,), notes + desired.notes, desired, recorded)
    steps: list[Step] = []
    if target.partitions < source.partitions:
        steps.append(GrowTopic(target_name, source.partitions))
    if flow.both_ways:
        # Two flows that each set what the other side has would never come to rest.
        return TopicPlan(tuple(steps))
    values, delete, left_alone = changes(desired, target.configs, recorded.managed)
    if values or delete:
        steps.append(SetConfigs(target_name, values, delete))
    return _plan(tuple(steps), desired.notes + left_alone, desired, recorded)


def changes_of(plan: TopicPlan, target: TargetTopic | None, effective: Mapping[str, str]) -> tuple[str, ...]:
    """Return one sentence for each change that a plan makes to a target topic: what it is, and what it will be.

    Args:
        plan: What is to be done to it.
        target: The topic as it is; None if there is none to be changed.
        effective: All its settings in force, including those inherited from its cluster.
    """
    sentences: list[str] = []
    if target is None:
        return ()
    for step in plan.steps:
        if isinstance(step, GrowTopic):
            sentences.append(f"{step.name}: partitions: {target.partitions} -> {step.total}")
        elif isinstance(step, SetConfigs):
            before = {**effective, **target.configs}
            sentences += [
                f"{step.name}: {name}: {before.get(name, '(not set)')} -> {value}"
                for name, value in sorted(step.values.items())
                if before.get(name) != value
            ]
            sentences += [
                f"{step.name}: {name}: {before.get(name, '(not set)')} -> (the cluster's default)"
                for name in sorted(step.delete)
            ]
    return tuple(sentences)


def _plan(steps: tuple[Step, ...], notes: tuple[str, ...], desired: Desired, recorded: RecordedTopic) -> TopicPlan:
    # What we set stays ours while the source does not tell the setting, or it could never be removed again.
    kept = {name: recorded.managed[name] for name in desired.unreported if name in recorded.managed}
    return TopicPlan(steps, notes, managed={**kept, **desired.values}, held_back=desired.held_back)


def _fault(
    source: SourceTopic, target: TargetTopic | None, name: str, recorded: RecordedTopic, *, may_be_wider: bool
) -> MirrorFault | None:
    if _changed(recorded.source_id, source.topic_id):
        return MirrorFault(
            Reason.SOURCE_RECREATED,
            f"the source topic {source.name} was deleted and created again "
            f"(id {recorded.source_id}, now {source.topic_id})",
        )
    if target is None:
        if recorded.target_id is None:
            return None
        return MirrorFault(Reason.TARGET_MISSING, f"the target topic {name} was a mirror and does not exist any more")
    if _changed(recorded.target_id, target.topic_id):
        return MirrorFault(
            Reason.TARGET_RECREATED,
            f"the target topic {name} was deleted and created again (id {recorded.target_id}, now {target.topic_id})",
        )
    if target.partitions > source.partitions and not may_be_wider:
        return MirrorFault(
            Reason.PARTITION_COUNT,
            f"the target topic {name} has {target.partitions} partitions, the source {source.name} has "
            f"{source.partitions}; partitions cannot be removed",
        )
    return None


def _changed(before: str | None, now: str | None) -> bool:
    return before is not None and now is not None and before != now


def _replicas(source: SourceTopic, flow: FlowSpec, cluster: TargetCluster) -> tuple[int, tuple[str, ...]]:
    wanted = flow.replication_factor or source.replication_factor
    replicas = max(1, min(wanted, cluster.brokers))
    if replicas == wanted:
        return replicas, ()
    return replicas, (f"{replicas} replicas instead of {wanted}: the target has {cluster.brokers} brokers",)


_ADVICE = {
    17: "give it another name there (topics.rename), or exclude it",  # INVALID_TOPIC_EXCEPTION
    38: "change replication_factor of the flow, or add brokers",  # INVALID_REPLICATION_FACTOR
    40: "change topic_configs of the flow",  # INVALID_CONFIG
    44: "ask the cluster's owner: a policy of the cluster refuses it",  # POLICY_VIOLATION
}


def creation_advice(code: int) -> str:
    """Return what helps if a broker refuses to create a topic with this error code."""
    return _ADVICE.get(code, "change replication_factor or topic_configs of the flow, or ask the cluster's owner")
