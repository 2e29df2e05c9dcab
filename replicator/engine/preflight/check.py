"""Checks the clusters of a flow file before anything is started: read-only, bounded in time.

The facts are gathered here; `judge` says what they mean.
A question that fails becomes a finding, and the others are still asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.admin.topics import TopicAdmin
from replicator.core.acl.commands import acl_command
from replicator.core.acl.parity import SideParity, closable
from replicator.core.acl.rights import REQUIRED_ON_SOURCE_GROUP, REQUIRED_ON_TARGET_GROUP, Operation, on_cluster
from replicator.core.copy.writing.producer_memory import SETTINGS, producer_memory
from replicator.core.topics import selection
from replicator.engine.preflight import ask, judge, judge_rights
from replicator.engine.preflight.facts import Flow, Side, question
from replicator.engine.preflight.mirrors import fillers, mirrors, topics
from replicator.engine.preflight.owners import known_flows
from replicator.engine.preflight.reverse import counterpart_of
from replicator.engine.state import records as state
from replicator.engine.state.ownership.shown_markers import Shown, shown_by_now
from replicator.engine.state.topic.log import StateLog
from replicator.engine.topics.authorizer import ClusterAuthorizer, may_place_rules
from replicator.errors import AuthorizationFailed, ReplicatorError
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.operations.report import Report, Section, fail, ok, warn
from replicator.model.spec import Offsets
from replicator.model.units import format_address
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.messages import questions
from replicator.wire.messages.groups import Groups
from replicator.wire.messages.rights_probe import may_write_markers

if TYPE_CHECKING:
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import Spec

_REQUEST_SECONDS_MAX = 10.0
_GROUPS_MAX = 50
_SKEW_MS = 60_000


async def preflight(spec: Spec) -> Report:
    """Check every cluster that a flow of the file uses, then every flow. Raises nothing that a cluster could cause."""
    aliases = sorted({alias for flow in spec.flows for alias in (flow.source, flow.target)})
    sides = {alias: _side(spec.cluster(alias)) for alias in aliases}
    try:
        await asyncio.gather(*map(_reach, sides.values()))
        flows = [
            Flow(flow, sides[flow.source], sides[flow.target], counterpart=counterpart_of(flow, spec.flows))
            for flow in spec.flows
        ]
        for flow in flows:
            await _examine(flow)
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


def _side(spec: ClusterSpec) -> Side:
    bounded = replace(spec, request_timeout_seconds=min(spec.request_timeout_seconds, _REQUEST_SECONDS_MAX))
    return Side(spec, Cluster(bounded), TopicAdmin(bounded))


# -- one cluster ------------------------------------------------------------------------------------------------------


async def _reach(side: Side) -> None:
    await question(side.checks, "reachable", _open(side))


async def _open(side: Side) -> None:
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
                "make every broker's advertised.listeners reachable, not only the bootstrap address",
            )
        )
    side.operations = (await side.admin.describe_cluster()).operations
    side.reached = True


def _login(spec: ClusterSpec) -> str:
    security = spec.security
    if security.protocol.sasl:
        return f"logged in as {security.username or 'the subject of the token'} ({security.protocol})"
    return f"no login ({security.protocol})" if security.cert_file is None else f"certificate ({security.protocol})"


async def _unreachable_brokers(side: Side) -> list[str]:
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


async def _examine(flow: Flow) -> None:
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
                "fix the bootstrap of one of them: this flow would feed itself",
            )
        )
        return
    await question(flow.checks, "topics", topics(flow))
    await question(flow.checks, STATE_TOPIC, _state(flow))
    await question(flow.checks, "mirrors", mirrors(flow))
    await question(flow.checks, "fillers", fillers(flow))
    await question(flow.checks, "rights", _rights(flow))
    await question(flow.checks, "closing", _closing(flow))
    await question(flow.checks, "groups", _groups(flow))
    await question(flow.checks, "fills", _fills(flow))
    await question(flow.checks, "guard", _guard(flow))
    await question(flow.checks, "clocks", _clocks(flow))


async def _state(flow: Flow) -> None:
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


async def _rights(flow: Flow) -> None:
    source, target = flow.source, flow.target
    allowed = await questions.topic_operations(source.cluster, flow.names)
    flow.checks += judge_rights.source_rights(allowed, source.spec)
    if flow.spec.both_ways:
        allowed = await questions.topic_operations(source.cluster, [STATE_TOPIC])
        flow.checks += judge_rights.origin_rights(allowed, source.spec)
    mirrors = [new for name in flow.names if (new := flow.target_name(name)) in target.cluster.topics]
    allowed = await questions.topic_operations(target.cluster, mirrors)
    flow.checks += judge_rights.mirror_rights(allowed, target.spec, both_ways=flow.spec.both_ways)
    allowed = await questions.topic_operations(target.cluster, [STATE_TOPIC])
    flow.checks += judge_rights.state_rights(allowed, target.spec)
    flow.checks += judge_rights.transactional_id(
        target.spec, allowed=await questions.may_use_transactional_id(target.cluster, "replicator.preflight")
    )


async def _closing(flow: Flow) -> None:
    """Report if a switchover could not close the source because we lack a right; it checks its other needs itself."""
    source = flow.source
    if may_place_rules(source.operations) is not False:
        return
    authorizer = None
    with contextlib.suppress(AuthorizationFailed):
        authorizer = await ClusterAuthorizer(source.cluster, source.admin).read()
    if authorizer is None:
        return
    found = SideParity(authorizer.rules, has_authorizer=True, us=authorizer.us, may_place_rules=False)
    to_grant = acl_command(on_cluster(Operation.ALTER), source.spec)
    checks = closable(flow.spec, flow.names, found, to_grant=to_grant)
    flow.checks += [check for check in checks if check.fix.startswith(to_grant)]


async def _groups(flow: Flow) -> None:
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


async def _fills(flow: Flow) -> None:
    """Find out how offsets without a record will be filled, if there are any."""
    if flow.spec.offsets is Offsets.MAPPED or flow.spec.both_ways:
        flow.checks += judge.mapped(flow.to_fill, flow.compacted)
    elif flow.to_fill:
        verdict = await may_write_markers(await flow.target.cluster.any_connection())
        flow.checks += judge.fills(flow.to_fill, verdict, flow.target.spec)


async def _guard(flow: Flow) -> None:
    target = flow.target
    missing = judge_rights.rights_of_cluster(target.operations, target.spec)
    if missing:
        flow.checks += missing
        return
    flow.memory = producer_memory(await target.admin.each_broker_configs(SETTINGS))
    flow.checks.append(judge.guard(flow.memory, target.spec))
    connection = await target.cluster.any_connection()
    offered = ask.offers_producers(connection)
    shown, in_log = await _marker_shown(flow) if offered else (Shown.NOT_OFFERED, False)
    flow.checks.append(judge.producers(target.spec, shown, in_log=in_log))
    await _old_backlog(flow)


async def _marker_shown(flow: Flow) -> tuple[Shown, bool]:
    """Return whether the target shows our data id, and whether its log has the marker that id recently wrote.

    The marker is on the state topic. Nothing is written.
    """
    if flow.record is None:
        return Shown.UNKNOWN, False
    writer = state.get_writer_record(flow.records, flow.record.uid)
    age_ms = time.time_ns() // 1_000_000 - writer.kept_alive_ms
    if not writer.HasField("producer_id") or age_ms >= flow.memory.shortest_ms - judge.GUARD_MARGIN_MS:
        return Shown.UNKNOWN, False
    return await shown_by_now(flow.target.cluster, writer.producer_id)


async def _old_backlog(flow: Flow) -> None:
    now_ms = time.time_ns() // 1_000_000
    # Where a standby flow will start copying is known only at the switch, and then little is left to copy.
    starts = {where: start for where, start in flow.starts.items() if where.topic not in flow.standing}
    positions = {where: max(start.offset, _copied(flow, where)) for where, start in starts.items()}
    cut_ms = now_ms - max(0, flow.memory.shortest_ms - judge.GUARD_MARGIN_MS)
    cut = await questions.offsets_at(flow.source.cluster, positions, cut_ms)
    older = judge.older_than_guard(positions, flow.ends, cut)
    first = await questions.offsets_at(flow.source.cluster, [where for where, number in older.items() if number], 0)
    times = [found.timestamp_ms for found in first.values() if found.timestamp_ms >= 0]
    check = judge.backlog(older, now_ms - min(times) if times else None, flow.memory, flow.target.spec)
    if check is not None:
        flow.checks.append(check)


def _copied(flow: Flow, where: TopicPartition) -> int:
    """Return the offset up to which this flow has already copied a partition."""
    if flow.mirror(where.topic) is None:
        return 0
    found = flow.target_ends.get(TopicPartition(flow.target_name(where.topic), where.partition))
    return found.offset if found else 0


async def _clocks(flow: Flow) -> None:
    ahead = await questions.offsets_at(flow.source.cluster, flow.ends, time.time_ns() // 1_000_000 + _SKEW_MS)
    check = judge.clocks(ahead)
    if check is not None:
        flow.checks.append(check)
