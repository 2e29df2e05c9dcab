"""Looks at the clusters of a flow file before anything is started: read-only, bounded in time.

Facts are gathered here, what they mean is said by `preflight_judge`.
A question that fails becomes a finding, and the others are asked all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from replicator.admin.topics import TopicAdmin
from replicator.core.acl.parity import SideParity, closable
from replicator.core.acl.rights import (
    REQUIRED_ON_SOURCE_GROUP,
    REQUIRED_ON_TARGET_GROUP,
    Operation,
    acl_command,
    on_cluster,
)
from replicator.core.copy.producer_memory import SETTINGS, ProducerMemory, producer_memory
from replicator.core.topics import selection
from replicator.core.topics.ownership import circle_step, circle_text, merged_names
from replicator.core.topics.plan import (
    CreateTopic,
    Recorded,
    SetConfigs,
    SourceTopic,
    TargetCluster,
    TargetTopic,
    TopicPlan,
    plan_topic,
)
from replicator.engine.preflight import ask, judge, judge_rights, phrases
from replicator.engine.preflight.owners import known_flows, owned
from replicator.engine.preflight.reverse import (
    StandBy,
    back_step,
    counterpart_of,
    standby_of,
    standing_by,
    stands_by,
    strange,
)
from replicator.engine.state import records as state
from replicator.engine.state.log import StateLog
from replicator.engine.state.owners import owner_of
from replicator.engine.state.provenance import topics_of
from replicator.engine.state.shown_markers import Shown, shown_by_now
from replicator.engine.state.source import SourceState
from replicator.engine.topics.authorizer import AuthorizerOf, may_place_rules
from replicator.errors import AuthorizationFailed, DamagedRecord, ReplicatorError
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.report import Check, Report, Section, fail, ok, warn
from replicator.model.spec import Offsets
from replicator.model.units import format_address
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.groups import Groups
from replicator.wire.rights_probe import may_write_markers

if TYPE_CHECKING:
    from replicator.admin.topic_values import TopicConfig
    from replicator.core.topics.ownership import Copied
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec, Spec
    from replicator.state_pb import state_pb2 as pb
    from replicator.wire.topology import Topic

_REQUEST_SECONDS_MAX = 10.0
_QUESTION_SECONDS_MAX = 30.0
_EDGES_MAX = 64
_CREATIONS_MAX = 50
_GROUPS_MAX = 50
_STATE_REPLICAS_MAX = 3
_SKEW_MS = 60_000
_START, _END = -2, -1
_EFFECTIVE = ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes")
T = TypeVar("T")


@dataclass(slots=True)
class _Side:
    """One cluster of the file, as far as it could be reached."""

    spec: ClusterSpec
    cluster: Cluster
    admin: TopicAdmin
    checks: list[Check] = field(default_factory=list)
    reached: bool = False
    operations: frozenset[str] | None = None

    async def close(self) -> None:
        """Let go of the connections."""
        self.cluster.close()
        await self.admin.close()


@dataclass
class _Flow:
    """One flow: what was found, and the facts that several questions share."""

    spec: FlowSpec
    source: _Side
    target: _Side
    checks: list[Check] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    records: Mapping[bytes, bytes] = field(default_factory=dict)
    record: pb.FlowRecord | None = None
    configs: dict[str, TopicConfig] = field(default_factory=dict)
    starts: dict[TopicPartition, ask.Found] = field(default_factory=dict)
    ends: dict[TopicPartition, ask.Found] = field(default_factory=dict)
    target_ends: dict[TopicPartition, ask.Found] = field(default_factory=dict)
    memory: ProducerMemory = field(default_factory=lambda: ProducerMemory({}))
    to_fill: set[str] = field(default_factory=set)
    compacted: list[str] = field(default_factory=list)
    circles: dict[str, Copied] = field(default_factory=dict)
    copies_unknown: bool = False
    owners: Mapping[str, str] = field(default_factory=dict)
    counterpart: FlowSpec | None = None
    standby: StandBy = field(default_factory=StandBy)

    def target_name(self, topic: str) -> str:
        """Return how a topic is called on the target."""
        return selection.target_name(self.spec.rename, topic)

    def mirror(self, topic: str) -> pb.MirrorRecord | None:
        """Return the record of a mirror of this flow; not that of another topic which is copied to the same name."""
        found = state.get_mirror(self.records, self.record.uid, self.target_name(topic)) if self.record else None
        return found if found is not None and found.source_topic == topic else None

    @cached_property
    def standing(self) -> frozenset[str]:
        """Topics that are not copied before a switch: their targets are the open side."""
        if self.spec.both_ways:
            return frozenset()
        writers = state.writers_of(self.records, self.record.uid) if self.record else None
        return frozenset(name for name in self.names if stands_by(self.spec, writers, self.target_name(name)))


async def preflight(spec: Spec) -> Report:
    """Look at every cluster that a flow of the file uses, then at every flow. Raises nothing a cluster could cause."""
    aliases = sorted({alias for flow in spec.flows for alias in (flow.source, flow.target)})
    sides = {alias: _side(spec.cluster(alias)) for alias in aliases}
    try:
        await asyncio.gather(*map(_reach, sides.values()))
        flows = [
            _Flow(flow, sides[flow.source], sides[flow.target], counterpart=counterpart_of(flow, spec.flows))
            for flow in spec.flows
        ]
        for flow in flows:
            await _look_at(flow)
    finally:
        await asyncio.gather(*(side.close() for side in sides.values()))
    return Report(
        (
            *(Section(f"cluster {alias}", tuple(side.checks)) for alias, side in sides.items()),
            *(
                Section(f"flow {flow.spec.name}: {flow.spec.source} -> {flow.spec.target}", tuple(flow.checks))
                for flow in flows
            ),
        )
    )


def _side(spec: ClusterSpec) -> _Side:
    bounded = replace(spec, request_timeout_seconds=min(spec.request_timeout_seconds, _REQUEST_SECONDS_MAX))
    return _Side(spec, Cluster(bounded), TopicAdmin(bounded))


async def _question(checks: list[Check], name: str, work: Awaitable[T]) -> T | None:
    """Ask; a question that fails or takes too long becomes a finding."""
    try:
        async with asyncio.timeout(_QUESTION_SECONDS_MAX):
            return await work
    except TimeoutError:
        checks.append(fail(name, f"no answer within {_QUESTION_SECONDS_MAX:.0f} s", "look at the brokers' load"))
    except ReplicatorError as error:
        checks.append(fail(name, str(error), error.next_step))
    return None


# -- one cluster ------------------------------------------------------------------------------------------------------


async def _reach(side: _Side) -> None:
    await _question(side.checks, "reachable", _open(side))


async def _open(side: _Side) -> None:
    cluster, alias = side.cluster, side.spec.alias
    began = time.monotonic()
    await cluster.open()
    connection = await cluster.any_connection()
    side.checks.append(
        ok(
            "reachable",
            f"{len(cluster.brokers)} {'broker' if len(cluster.brokers) == 1 else 'brokers'}, speaks Kafka "
            f"{ask.spoken_version(connection)} or newer, {_login(side.spec)}, answered in "
            f"{time.monotonic() - began:.2f} s",
        )
    )
    hint = "" if side.spec.cluster_id else f'clusters.{alias}.cluster_id: "{cluster.cluster_id}" refuses any other'
    matches = ", as the file says" if side.spec.cluster_id else ""
    side.checks.append(ok("cluster id", f"{cluster.cluster_id}{matches}", hint))
    unreachable = await _unreachable_brokers(side)
    if unreachable:
        side.checks.append(
            fail(
                "brokers",
                f"the cluster names brokers that cannot be reached from here: {'; '.join(unreachable)}",
                "open the way to every broker's advertised.listeners, not only to the bootstrap address",
            )
        )
    side.operations = (await side.admin.describe_cluster()).operations
    side.reached = True


def _login(spec: ClusterSpec) -> str:
    security = spec.security
    if security.protocol.sasl:
        return f"logged in as {security.username or 'the subject of the token'} ({security.protocol})"
    return f"no login ({security.protocol})" if security.cert_file is None else f"certificate ({security.protocol})"


async def _unreachable_brokers(side: _Side) -> list[str]:
    async def reach(node: int) -> str | None:
        try:
            await side.cluster.connection(node, Purpose.CONTROL)
        except ReplicatorError as error:
            host, port = side.cluster.brokers[node]
            return f"broker {node} at {format_address((host, port))} ({error.why or error.what})"
        return None

    found = await asyncio.gather(*(reach(node) for node in sorted(side.cluster.brokers)))
    return [text for text in found if text]


# -- one flow ---------------------------------------------------------------------------------------------------------


async def _look_at(flow: _Flow) -> None:
    source, target = flow.source, flow.target
    missing = [side.spec.alias for side in (source, target) if not side.reached]
    if missing:
        flow.checks.append(warn("not checked", f"{' and '.join(missing)} could not be asked"))
        return
    if source.cluster.cluster_id == target.cluster.cluster_id:
        flow.checks.append(
            fail(
                "two clusters",
                f"{source.spec.alias} and {target.spec.alias} are the same cluster ({source.cluster.cluster_id})",
                "correct the bootstrap of one of them: this flow would feed itself",
            )
        )
        return
    await _question(flow.checks, "topics", _topics(flow))
    await _question(flow.checks, STATE_TOPIC, _state(flow))
    await _question(flow.checks, "mirrors", _mirrors(flow))
    await _question(flow.checks, "fillers", _fillers(flow))
    await _question(flow.checks, "rights", _rights(flow))
    await _question(flow.checks, "closing", _closing(flow))
    await _question(flow.checks, "groups", _groups(flow))
    await _question(flow.checks, "fills", _fills(flow))
    await _question(flow.checks, "guard", _guard(flow))
    await _question(flow.checks, "clocks", _clocks(flow))


async def _topics(flow: _Flow) -> None:
    source = flow.source
    await source.cluster.refresh(None)
    choice, unknown = await topics_of(flow.spec, source.cluster, flow.target.cluster.cluster_id)
    flow.names, flow.copies_unknown = list(choice.selected), unknown is not None
    parts = _partitions(source.cluster, flow.names)
    flow.starts = await ask.offsets_at(source.cluster, parts, _START)
    flow.ends = await ask.offsets_at(source.cluster, parts, _END)
    records = sum(max(0, flow.ends[where].offset - start.offset) for where, start in flow.starts.items())
    flow.checks.append(phrases.selected(flow.names, len(parts), records))
    flow.checks += judge.left_out(choice.left_out, unknown)
    without = [str(where) for where in parts if where not in flow.ends]
    if without:
        flow.checks.append(warn("leaders", f"no leader now: {phrases.some(without)}", "bring the brokers back"))
    flow.configs = await source.admin.describe_configs(flow.names)
    effective = {name: config.effective for name, config in flow.configs.items()}
    compacted = [name for name, found in effective.items() if "compact" in _value(found.get("cleanup.policy"))]
    flow.compacted = compacted
    stamped = [
        name for name, found in effective.items() if _value(found.get("message.timestamp.type")) == "LogAppendTime"
    ]
    looked_at = dict(list(flow.starts.items())[:_EDGES_MAX])
    found = await ask.edges(source.cluster, looked_at, flow.ends)
    flow.checks += judge.stamped({*stamped, *(where.topic for where, edge in found.items() if edge.stamped)})
    flow.to_fill = {*compacted, *(where.topic for where, edge in found.items() if edge.transactional)}


def _value(config: object) -> str:
    return str(getattr(config, "value", None) or "")


def _partitions(cluster: Cluster, topics: list[str]) -> list[TopicPartition]:
    return [TopicPartition(name, at) for name in topics for at in sorted(cluster.topics[name].leaders)]


async def _state(flow: _Flow) -> None:
    target = flow.target
    await target.cluster.refresh(None)
    if STATE_TOPIC not in target.cluster.topics:
        flow.checks.append(ok(STATE_TOPIC, f"not on {target.spec.alias} yet: the first start creates it"))
        return
    log = StateLog(target.cluster)
    await log.read_to_end()
    flow.records = log.records
    source_id, target_id = flow.source.cluster.cluster_id, target.cluster.cluster_id
    flow.record = state.find_flow(log.records, flow.spec.name, source_id, target_id)
    flow.checks += known_flows(state.flows_named(log.records, flow.spec.name), source_id or "", target_id or "")


async def _mirrors(flow: _Flow) -> None:
    target = flow.target
    there = {
        name: target.cluster.topics[new]
        for name in flow.names
        if (new := flow.target_name(name)) in target.cluster.topics
    }
    parts = [TopicPartition(topic.name, at) for topic in there.values() for at in sorted(topic.leaders)]
    flow.target_ends = await ask.offsets_at(target.cluster, parts, _END)
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
        flow.checks.append(ok("mirrors", f"{phrases.count(len(known), 'topic')} copied by this flow already"))
    if not flow.spec.both_ways:
        flow.owners = state.foreign_owners(flow.records, flow.record.uid if flow.record else "")
    for name, topic in there.items():
        flow.checks += _foreign(flow, name, known=name in known, losing=_losing(plans[name], configs.get(topic.name)))
    for name, plan in plans.items():
        if plan.fault is None or name in flow.standby.judged_there:
            continue
        if name in flow.standing:
            text = f"stands by; as it is now, it would stop as {plan.fault.reason} once it is copied again"
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
                f"{'replica' if factors == [1] else 'replicas'} for each partition",
            )
        )
    await _dry_run(flow, creations)


async def _fillers(flow: _Flow) -> None:
    """Look whether a mirror that was seeded shows its fillers to readers."""
    writer = state.get_writer(flow.records, flow.record.uid) if flow.record else None
    if writer is None:
        return
    mirrors = {
        TopicPartition(flow.target_name(where.topic), where.partition): start.offset
        for where, start in flow.starts.items()
        if flow.mirror(where.topic) is not None
    }
    target = flow.target.cluster
    starts = await ask.offsets_at(target, mirrors, _START)
    below = [where for where, start in starts.items() if 0 <= start.offset < mirrors[where]][:_EDGES_MAX]
    visible = {}
    for where in below:
        start, end = starts[where].offset, flow.target_ends[where].offset
        first_copied = await ask.end_of_fillers(target, where, writer.filler_id, start, min(end, mirrors[where]))
        if first_copied > start:
            visible[where] = first_copied
    flow.checks += judge.visible_fillers(visible, flow.target.spec)


async def _circles(flow: _Flow, topics: list[Topic]) -> Mapping[bytes, bytes] | None:
    """Find out which target topics are themselves copied to the source now.

    Returns:
        What is recorded on the source; None where that does not matter, or may not be read.
    """
    if flow.spec.both_ways or flow.copies_unknown:
        return None
    there = SourceState(flow.source.cluster)
    ids = {topic.name: topic.topic_id for topic in topics}
    try:
        records = await there.read()
        flow.circles = state.copied_from(records, flow.target.cluster.cluster_id or "", ids)
    except AuthorizationFailed as error:
        # Also where none of them is there yet: one that somebody makes before the flow does would be taken unseen.
        text = f"{error}: if from and to were swapped, an empty topic that is copied there would be taken for a new one"
        flow.checks.append(warn("copies", text, error.next_step))
        return None
    except DamagedRecord as error:
        raise there.damaged(error) from error
    return records


def _losing(plan: TopicPlan, config: TopicConfig | None) -> list[str]:
    """Return the settings that somebody gave a target topic and that the flow will change, from and to."""
    own = dict(config.dynamic) if config is not None else {}
    wanted = {name: value for step in plan.steps if isinstance(step, SetConfigs) for name, value in step.values.items()}
    return [f"{name}: {own[name]} -> {value}" for name, value in sorted(wanted.items()) if name in own]


def _foreign(flow: _Flow, name: str, *, known: bool, losing: list[str]) -> list[Check]:
    """Find out whether a target topic that exists belongs to somebody else."""
    new = flow.target_name(name)
    if new in flow.owners:
        source_id = flow.source.cluster.cluster_id or ""
        owner = owner_of(flow.records, (flow.spec.name, source_id), flow.owners[new], new)
        return [owned(owner, new, flow.spec.name, flow.source.spec.alias, source_id)]
    if known or name in flow.standby.judged_there:
        return []
    return [_stranger(flow, name, losing)]


def _stranger(flow: _Flow, name: str, losing: list[str]) -> Check:
    """Say what a target topic is that no record of this flow, or of its counterpart, names."""
    new = flow.target_name(name)
    if new in flow.circles:
        copied = flow.circles[new]
        step = back_step(copied, new, flow.standby, circle_step(new, copied, flow.spec.name))
        return fail("mirrors", f"{circle_text(new, copied)}: it would stop as target_taken", step)
    end = max((found.offset for where, found in flow.target_ends.items() if where.topic == new), default=0)
    if end <= 0:
        told = f"{new} is there already, and empty: it will be used"
        keep = "keep one with topic_configs.exclude, or set it with topic_configs.override"
        changed = f"{told}, with settings as on the source: {', '.join(losing)}"
        return warn("mirrors", changed, keep) if losing else ok("mirrors", told)
    if flow.spec.both_ways:
        return ok("mirrors", f"{new} is there already, with records of others up to offset {end:,}: ours are added")
    if name in flow.standing:
        return strange(flow.standby, new, end, flow.spec)
    text = f"{new} is on {flow.target.spec.alias} already, holds records up to offset {end:,} and is no mirror of this"
    helps = "rename the mirrors (topics.rename), exclude the topic, or delete it on the target if it is not needed"
    return fail("mirrors", f"{text} flow: it would stop as foreign_writer", helps)


async def _known_settings(flow: _Flow, configs: Mapping[str, TopicConfig]) -> frozenset[str] | None:
    """Return which settings topics may have on the target, which differs by version; None where no topic tells."""
    topics = flow.target.cluster.topics
    if not configs and topics:
        with contextlib.suppress(AuthorizationFailed):
            configs = await flow.target.admin.describe_configs([STATE_TOPIC if STATE_TOPIC in topics else min(topics)])
    return next((frozenset(one.effective) for one in configs.values()), None)


def _plan(flow: _Flow, name: str, target_configs: Mapping[str, TopicConfig], known: frozenset[str] | None) -> TopicPlan:
    """Plan a topic exactly as topic sync will."""
    here, there = flow.source.cluster.topics[name], flow.target.cluster.topics.get(flow.target_name(name))
    config = flow.configs.get(name)
    source = SourceTopic(
        name,
        state.uuid_text(here.topic_id),
        here.partition_count,
        here.replication_factor,
        config.dynamic if config else {},
        {key: found.value for key in _EFFECTIVE if config and (found := config.effective.get(key)) and found.value},
        config.untold if config else frozenset(),
    )
    target = None
    if there is not None:
        settings = target_configs.get(there.name)
        dynamic = settings.dynamic if settings else {}
        target = TargetTopic(state.uuid_text(there.topic_id), there.partition_count, there.replication_factor, dynamic)
    record = flow.mirror(name)
    recorded = Recorded()
    if record is not None:
        ids = [state.uuid_text(raw or bytes(16)) for raw in (record.source_topic_id, record.target_topic_id)]
        recorded = Recorded(ids[0], ids[1], dict(record.managed))
    brokers = TargetCluster(len(flow.target.cluster.brokers), known)
    return plan_topic(source, target, flow.spec, brokers, target_name=flow.target_name(name), recorded=recorded)


async def _dry_run(flow: _Flow, creations: list[CreateTopic]) -> None:
    target = flow.target
    wanted = creations[:_CREATIONS_MAX]
    if STATE_TOPIC not in target.cluster.topics:
        replicas = min(_STATE_REPLICAS_MAX, len(target.cluster.brokers))
        wanted = [CreateTopic(STATE_TOPIC, 1, replicas, {"cleanup.policy": "compact"}), *wanted]
    refusals = await ask.creation_refusals(target.cluster, wanted)
    flow.checks += judge.creations(refusals, len(wanted), target.spec)


async def _rights(flow: _Flow) -> None:
    source, target = flow.source, flow.target
    told = await ask.topic_operations(source.cluster, flow.names)
    flow.checks += judge_rights.source_rights(told, source.spec)
    if flow.spec.both_ways:
        told = await ask.topic_operations(source.cluster, [STATE_TOPIC])
        flow.checks += judge_rights.origin_rights(told, source.spec)
    mirrors = [new for name in flow.names if (new := flow.target_name(name)) in target.cluster.topics]
    told = await ask.topic_operations(target.cluster, mirrors)
    flow.checks += judge_rights.mirror_rights(told, target.spec, both_ways=flow.spec.both_ways)
    told = await ask.topic_operations(target.cluster, [STATE_TOPIC])
    flow.checks += judge_rights.state_rights(told, target.spec)
    flow.checks += judge_rights.transactional_id(
        target.spec, allowed=await ask.may_use_transactional_id(target.cluster, "replicator.preflight")
    )


async def _closing(flow: _Flow) -> None:
    """Say if a switchover could not close the source for want of a right of ours; what else it needs, it finds out."""
    source = flow.source
    if may_place_rules(source.operations) is not False:
        return
    authorizer = None
    with contextlib.suppress(AuthorizationFailed):
        authorizer = await AuthorizerOf(source.cluster, source.admin).read()
    if authorizer is None:
        return
    found = SideParity(authorizer.rules, has_authorizer=True, us=authorizer.us, may_place_rules=False)
    to_grant = acl_command(on_cluster(Operation.ALTER), source.spec)
    checks = closable(flow.spec, flow.names, found, to_grant=to_grant)
    flow.checks += [check for check in checks if check.fix.startswith(to_grant)]


async def _groups(flow: _Flow) -> None:
    """Find out which consumer groups follow, and whether this user may read and write them."""
    meant = flow.spec.group_sync.groups
    if not meant.include:
        return
    there, here = Groups(flow.source.cluster), Groups(flow.target.cluster)
    names = sorted(name for name in await there.listed() if selection.matches_group(meant, name))
    flow.checks.append(judge_rights.following(names, flow.source.spec))
    asked = names[:_GROUPS_MAX]
    for groups, needed, side in (
        (there, REQUIRED_ON_SOURCE_GROUP, flow.source),
        (here, REQUIRED_ON_TARGET_GROUP, flow.target),
    ):
        flow.checks += judge_rights.groups(await ask.group_operations(groups, asked), needed, side.spec)


async def _fills(flow: _Flow) -> None:
    """Find out in which way offsets without a record will be filled, where there are any."""
    if flow.spec.offsets is Offsets.MAPPED or flow.spec.both_ways:
        flow.checks += judge.mapped(flow.to_fill, flow.compacted)
    elif flow.to_fill:
        verdict = await may_write_markers(await flow.target.cluster.any_connection())
        flow.checks += judge.fills(flow.to_fill, verdict, flow.target.spec)


async def _guard(flow: _Flow) -> None:
    target = flow.target
    lack = judge_rights.rights_of_cluster(target.operations, target.spec)
    if lack:
        flow.checks += lack
        return
    flow.memory = producer_memory(await target.admin.each_broker_configs(SETTINGS))
    flow.checks.append(judge.guard(flow.memory, target.spec))
    connection = await target.cluster.any_connection()
    offered = ask.offers_producers(connection)
    shown, in_log = await _marker_shown(flow) if offered else (Shown.NOT_OFFERED, False)
    flow.checks.append(judge.producers(target.spec, shown, in_log=in_log))
    await _old_backlog(flow)


async def _marker_shown(flow: _Flow) -> tuple[Shown, bool]:
    """Return whether the target tells of our data id, which wrote a marker to the state topic lately, and has that.

    Nothing is written.
    """
    if flow.record is None:
        return Shown.UNKNOWN, False
    writer = state.get_writer_record(flow.records, flow.record.uid)
    age_ms = time.time_ns() // 1_000_000 - writer.kept_alive_ms
    if not writer.HasField("producer_id") or age_ms >= flow.memory.shortest_ms - judge.GUARD_MARGIN_MS:
        return Shown.UNKNOWN, False
    return await shown_by_now(flow.target.cluster, writer.producer_id)


async def _old_backlog(flow: _Flow) -> None:
    now_ms = time.time_ns() // 1_000_000
    # Where a flow that stands by will go on is known at the switch only, and then little is left to copy.
    starts = {where: start for where, start in flow.starts.items() if where.topic not in flow.standing}
    positions = {where: max(start.offset, _copied(flow, where)) for where, start in starts.items()}
    cut_ms = now_ms - max(0, flow.memory.shortest_ms - judge.GUARD_MARGIN_MS)
    cut = await ask.offsets_at(flow.source.cluster, positions, cut_ms)
    older = judge.older_than_guard(positions, flow.ends, cut)
    first = await ask.offsets_at(flow.source.cluster, [where for where, number in older.items() if number], 0)
    times = [found.timestamp_ms for found in first.values() if found.timestamp_ms >= 0]
    check = judge.backlog(older, now_ms - min(times) if times else None, flow.memory, flow.target.spec)
    if check is not None:
        flow.checks.append(check)


def _copied(flow: _Flow, where: TopicPartition) -> int:
    """Return up to where this flow has copied a partition already."""
    if flow.mirror(where.topic) is None:
        return 0
    found = flow.target_ends.get(TopicPartition(flow.target_name(where.topic), where.partition))
    return found.offset if found else 0


async def _clocks(flow: _Flow) -> None:
    ahead = await ask.offsets_at(flow.source.cluster, flow.ends, time.time_ns() // 1_000_000 + _SKEW_MS)
    check = judge.clocks(ahead)
    if check is not None:
        flow.checks.append(check)
