"""Checks the topics of a flow, and what would become of them on its target."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from replicator.core.topics.ownership import circle_step, circle_text, merged_names
from replicator.core.topics.plan import (
    CreateTopic,
    RecordedTopic,
    SetConfigs,
    SourceTopic,
    TargetCluster,
    TargetTopic,
    TopicPlan,
    plan_topic,
)
from replicator.engine.preflight import ask, judge, phrases
from replicator.engine.preflight.facts import EFFECTIVE, END, START, Flow
from replicator.engine.preflight.owners import owned
from replicator.engine.preflight.reverse import back_step, standby_of, standing_by, strange
from replicator.engine.state import records as state
from replicator.engine.state.ownership.owners import owner_of
from replicator.engine.state.ownership.provenance import topics_of
from replicator.engine.state.topic.source import SourceState
from replicator.errors import AuthorizationFailed, DamagedRecord
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.operations.report import Check, fail, ok, warn
from replicator.wire.cluster import Cluster
from replicator.wire.messages import questions

if TYPE_CHECKING:
    from replicator.admin.topic_values import TopicConfig
    from replicator.wire.topology import Topic

EDGES_MAX = 64
CREATIONS_MAX = 50
STATE_REPLICAS_MAX = 3


async def topics(flow: Flow) -> None:
    """Find the topics that a flow selects, with their settings, starts and ends."""
    source = flow.source
    await source.cluster.refresh(None)
    choice, unknown = await topics_of(flow.spec, source.cluster, flow.target.cluster.cluster_id)
    flow.names, flow.copies_unknown = list(choice.selected), unknown is not None
    parts = _partitions(source.cluster, flow.names)
    flow.starts = await questions.offsets_at(source.cluster, parts, START)
    flow.ends = await questions.offsets_at(source.cluster, parts, END)
    records = sum(max(0, flow.ends[where].offset - start.offset) for where, start in flow.starts.items())
    flow.checks.append(judge.selected(flow.names, len(parts), records))
    flow.checks += judge.left_out(choice.left_out, unknown)
    without = [str(where) for where in parts if where not in flow.ends]
    if without:
        flow.checks.append(warn("leaders", f"without a leader: {phrases.some(without)}", "bring the brokers back"))
    flow.configs = await source.admin.describe_configs(flow.names)
    effective = {name: config.effective for name, config in flow.configs.items()}
    compacted = [name for name, found in effective.items() if "compact" in _value(found.get("cleanup.policy"))]
    flow.compacted = compacted
    stamped = [
        name for name, found in effective.items() if _value(found.get("message.timestamp.type")) == "LogAppendTime"
    ]
    sampled = dict(list(flow.starts.items())[:EDGES_MAX])
    found = await ask.edges(source.cluster, sampled, flow.ends)
    flow.checks += judge.stamped({*stamped, *(where.topic for where, edge in found.items() if edge.stamped)})
    flow.to_fill = {*compacted, *(where.topic for where, edge in found.items() if edge.transactional)}


def _value(config: object) -> str:
    return str(getattr(config, "value", None) or "")


def _partitions(cluster: Cluster, topics: list[str]) -> list[TopicPartition]:
    return [TopicPartition(name, at) for name in topics for at in sorted(cluster.topics[name].leaders)]


async def mirrors(flow: Flow) -> None:
    """Check what is on the target, and what would be created or changed there."""
    target = flow.target
    there = {
        name: target.cluster.topics[new]
        for name in flow.names
        if (new := flow.target_name(name)) in target.cluster.topics
    }
    parts = [TopicPartition(topic.name, at) for topic in there.values() for at in sorted(topic.leaders)]
    flow.target_ends = await questions.offsets_at(target.cluster, parts, END)
    configs = await target.admin.describe_configs(sorted(topic.name for topic in there.values()))
    settings = await _known_settings(flow, configs)
    plans = {name: _plan(flow, name, configs, settings) for name in flow.names}
    known = [name for name in there if flow.mirror(name) is not None]
    records = await _circles(flow, [topic for name, topic in there.items() if name not in known])
    waiting = {name: topic for name, topic in there.items() if name in flow.standing}
    flow.standby = await standby_of(flow.counterpart, (flow.source.cluster, target.cluster), waiting, known, records)
    flow.checks += standing_by(flow.standby, target.spec.alias)
    known = [name for name in known if name not in flow.standby.judged_there]
    flow.checks += judge.merged(merged_names({name: flow.target_name(name) for name in flow.names}))
    if known:
        flow.checks.append(ok("mirrors", f"{phrases.count(len(known), 'topic')} already copied by this flow"))
    if not flow.spec.both_ways:
        flow.owners = state.foreign_owners(flow.records, flow.record.uid if flow.record else "")
    for name, topic in there.items():
        flow.checks += _foreign(flow, name, known=name in known, losing=_losing(plans[name], configs.get(topic.name)))
    for name, plan in plans.items():
        if plan.fault is None or name in flow.standby.judged_there:
            continue
        if name in flow.standing:
            text = f"standby for now; as it is, it would stop as {plan.fault.reason} once it is copied again"
            flow.checks.append(warn("mirrors", plan.fault.text, text))
        else:
            flow.checks.append(fail("mirrors", plan.fault.text, f"would stop as {plan.fault.reason}"))
    for note in sorted({note for plan in plans.values() for note in plan.notes}):
        flow.checks.append(warn("mirrors", note))
    creations = [step for plan in plans.values() for step in plan.steps if isinstance(step, CreateTopic)]
    colliding = judge.collisions({step.name for step in creations}, target.cluster.topics)
    flow.checks += judge.colliding(colliding, target.spec)
    creations = [step for step in creations if step.name not in colliding]
    if creations:
        factors = sorted({step.replication_factor for step in creations})
        flow.checks.append(
            ok(
                "mirrors",
                f"{phrases.count(len(creations), 'topic')} to be created with {' or '.join(map(str, factors))} "
                f"{'replica' if factors == [1] else 'replicas'} per partition",
            )
        )
    await _dry_run(flow, creations)


async def fillers(flow: Flow) -> None:
    """Check whether a seeded mirror shows its fillers to readers."""
    writer = state.get_writer(flow.records, flow.record.uid) if flow.record else None
    if writer is None:
        return
    mirrors = {
        TopicPartition(flow.target_name(where.topic), where.partition): start.offset
        for where, start in flow.starts.items()
        if flow.mirror(where.topic) is not None
    }
    target = flow.target.cluster
    starts = await questions.offsets_at(target, mirrors, START)
    below = [where for where, start in starts.items() if 0 <= start.offset < mirrors[where]][:EDGES_MAX]
    visible = {}
    for where in below:
        start, end = starts[where].offset, flow.target_ends[where].offset
        first_copied = await ask.end_of_fillers(target, where, writer.filler_id, start, min(end, mirrors[where]))
        if first_copied > start:
            visible[where] = first_copied
    flow.checks += judge.visible_fillers(visible, flow.target.spec)


async def _circles(flow: Flow, topics: list[Topic]) -> Mapping[bytes, bytes] | None:
    """Find out which target topics are themselves currently copied to the source.

    Returns:
        The records of the source's state topic; None if they do not matter or may not be read.
    """
    if flow.spec.both_ways or flow.copies_unknown:
        return None
    there = SourceState(flow.source.cluster)
    ids = {topic.name: topic.topic_id for topic in topics}
    try:
        records = await there.read()
        flow.circles = state.copied_from(records, flow.target.cluster.cluster_id or "", ids)
    except AuthorizationFailed as error:
        # Also if none of them exists yet: one that someone creates before the flow does would be used unseen.
        text = f"{error}: if from and to were swapped, an empty topic that is copied there would pass for a new one"
        flow.checks.append(warn("copies", text, error.next_step))
        return None
    except DamagedRecord as error:
        raise there.damaged(error) from error
    return records


def _losing(plan: TopicPlan, config: TopicConfig | None) -> list[str]:
    """Return the settings that someone gave a target topic and the flow will change: old and new value."""
    own = dict(config.dynamic) if config is not None else {}
    wanted = {name: value for step in plan.steps if isinstance(step, SetConfigs) for name, value in step.values.items()}
    return [f"{name}: {own[name]} -> {value}" for name, value in sorted(wanted.items()) if name in own]


def _foreign(flow: Flow, name: str, *, known: bool, losing: list[str]) -> list[Check]:
    """Find out whether an existing target topic belongs to someone else."""
    new = flow.target_name(name)
    if new in flow.owners:
        source_id = flow.source.cluster.cluster_id or ""
        owner = owner_of(flow.records, (flow.spec.name, source_id), flow.owners[new], new)
        return [owned(owner, new, flow.spec.name, flow.source.spec.alias, source_id)]
    if known or name in flow.standby.judged_there:
        return []
    return [_stranger(flow, name, losing)]


def _stranger(flow: Flow, name: str, losing: list[str]) -> Check:
    """Judge a target topic that no record of this flow or of its counterpart names."""
    new = flow.target_name(name)
    if new in flow.circles:
        copied = flow.circles[new]
        step = back_step(copied, new, flow.standby, circle_step(new, copied, flow.spec.name))
        return fail("mirrors", f"{circle_text(new, copied)}: it would stop as target_taken", step)
    end = max((found.offset for where, found in flow.target_ends.items() if where.topic == new), default=0)
    if end <= 0:
        text = f"{new} already exists and is empty: it will be used"
        keep = "keep one with topic_configs.exclude, or set it with topic_configs.override"
        changed = f"{text}, with settings as on the source: {', '.join(losing)}"
        return warn("mirrors", changed, keep) if losing else ok("mirrors", text)
    if flow.spec.both_ways:
        return ok("mirrors", f"{new} already exists, with others' records up to offset {end:,}: ours are added")
    if name in flow.standing:
        return strange(flow.standby, new, end, flow.spec)
    text = f"{new} already exists on {flow.target.spec.alias}, with records up to offset {end:,}, and is not a mirror"
    helps = "rename the mirrors (topics.rename), exclude the topic, or delete it on the target if it is not needed"
    return fail("mirrors", f"{text} of this flow: it would stop as foreign_writer", helps)


async def _known_settings(flow: Flow, configs: Mapping[str, TopicConfig]) -> frozenset[str] | None:
    """Return which settings topics may have on the target, which differs by version; None if no topic shows it."""
    topics = flow.target.cluster.topics
    if not configs and topics:
        with contextlib.suppress(AuthorizationFailed):
            configs = await flow.target.admin.describe_configs([STATE_TOPIC if STATE_TOPIC in topics else min(topics)])
    return next((frozenset(one.effective) for one in configs.values()), None)


def _plan(flow: Flow, name: str, target_configs: Mapping[str, TopicConfig], known: frozenset[str] | None) -> TopicPlan:
    """Plan a topic exactly as topic sync does."""
    here, there = flow.source.cluster.topics[name], flow.target.cluster.topics.get(flow.target_name(name))
    config = flow.configs.get(name)
    source = SourceTopic(
        name,
        state.uuid_text(here.topic_id),
        here.partition_count,
        here.replication_factor,
        config.dynamic if config else {},
        {key: found.value for key in EFFECTIVE if config and (found := config.effective.get(key)) and found.value},
        config.unreported if config else frozenset(),
    )
    target = None
    if there is not None:
        settings = target_configs.get(there.name)
        dynamic = settings.dynamic if settings else {}
        target = TargetTopic(state.uuid_text(there.topic_id), there.partition_count, there.replication_factor, dynamic)
    record = flow.mirror(name)
    recorded = RecordedTopic()
    if record is not None:
        ids = [state.uuid_text(raw or bytes(16)) for raw in (record.source_topic_id, record.target_topic_id)]
        recorded = RecordedTopic(ids[0], ids[1], dict(record.managed))
    brokers = TargetCluster(len(flow.target.cluster.brokers), known)
    return plan_topic(source, target, flow.spec, brokers, target_name=flow.target_name(name), recorded=recorded)


async def _dry_run(flow: Flow, creations: list[CreateTopic]) -> None:
    target = flow.target
    wanted = creations[:CREATIONS_MAX]
    if STATE_TOPIC not in target.cluster.topics:
        replicas = min(STATE_REPLICAS_MAX, len(target.cluster.brokers))
        wanted = [CreateTopic(STATE_TOPIC, 1, replicas, {"cleanup.policy": "compact"}), *wanted]
    refusals = await questions.creation_refusals(target.cluster, wanted)
    flow.checks += judge.creations(refusals, len(wanted), target.spec)
