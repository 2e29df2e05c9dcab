"""Gathers what a switch of a flow depends on, and changes nothing (`core.switch.readiness` judges).

It opens its own connections: existing ones prove nothing about a cluster that has just gone.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicator.admin.topics import TopicAdmin
from replicator.core.acl.commands import acl_command
from replicator.core.acl.parity import SideParity, closable, compared
from replicator.core.acl.rights import Operation, lacking, on_cluster, on_topic
from replicator.core.switch.readiness import judge
from replicator.core.switch.readiness_facts import ReadinessFacts, SideFacts, TopicFacts
from replicator.engine.state.ownership.shown_markers import Shown
from replicator.engine.topics.authorizer import ClusterAuthorizer
from replicator.errors import ReplicatorError
from replicator.model.operations.report import Check, Report, ok, warn
from replicator.wire.clock import controller_time_ms, offers_time
from replicator.wire.cluster import Cluster
from replicator.wire.messages.questions import topic_operations
from replicator.wire.messages.quotas import client_quotas, offers_quotas, offers_scram_users
from replicator.wire.messages.rights_probe import Verdict, may_write_markers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicator.admin.topic_values import TopicConfig
    from replicator.model.acl import Rule
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec
    from replicator.model.status.groups import GroupStatus
    from replicator.model.status.snapshots import FlowStatus

_REQUEST_SECONDS_MAX = 5.0
_SIDE_SECONDS_MAX = 15.0
_MIN_IN_SYNC = "min.insync.replicas"
_TO_MIRROR = (Operation.WRITE, Operation.ALTER_CONFIGS)
"""What a reverse flow needs on the topics of this flow's source."""


@dataclass(slots=True)
class _Side:
    """What one cluster answered."""

    facts: SideFacts
    cluster: Cluster
    configs: Mapping[str, TopicConfig]
    operations: Mapping[str, frozenset[Operation] | None]


async def rehearse(
    flow: FlowSpec,
    status: FlowStatus,
    source: ClusterSpec,
    target: ClusterSpec,
    recorded_ids: tuple[str | None, str | None],
    groups: tuple[Sequence[GroupStatus], str | None],
    *,
    ours: tuple[Rule, ...] = (),
    foreign: tuple[tuple[str, int, int], ...] | None = None,
    shown: Shown = Shown.UNKNOWN,
) -> Report:
    """Check whether a flow could be switched now. Raises nothing that a cluster could cause.

    Args:
        flow: The flow.
        status: Its whole status.
        source: How to reach the source.
        target: How to reach the target.
        groups: How far consumer groups have followed, and what holds all of them back.
        ours: Rules on the target that are ours, or become ours once it opens.
        recorded_ids: Cluster ids of source and target, as in the flow's record.
        foreign: Where someone else wrote to the mirrors: source topic, partition, offsets; None if not known.
        shown: Whether the target shows markers of the flow.
    """
    names = [mirror.topic for mirror in status.mirrors]
    target_names = [mirror.target_topic for mirror in status.mirrors]
    there, here = await asyncio.gather(
        _ask(source, names, recorded_ids[0]), _ask(target, target_names, recorded_ids[1])
    )
    try:
        topics = tuple(_topic(there, here, mirror.topic, mirror.target_topic) for mirror in status.mirrors)
        facts = ReadinessFacts(
            flow.objectives,
            status,
            there.facts,
            here.facts,
            topics,
            reverse_rights=tuple(_reverse(there, source)),
            parity=tuple(await _parity(flow, status, there, here, ours)),
            groups=tuple(groups[0]),
            groups_wait_for=groups[1],
            both_ways=flow.both_ways,
            foreign=foreign,
            markers_shown=None if shown is Shown.UNKNOWN else shown is not Shown.NO,
        )
    finally:
        there.cluster.close()
        here.cluster.close()
    return Report((judge(facts),))


async def _ask(spec: ClusterSpec, names: list[str], expected_id: str | None) -> _Side:
    bounded = replace(spec, request_timeout_seconds=min(spec.request_timeout_seconds, _REQUEST_SECONDS_MAX))
    side = _Side(SideFacts(spec.alias, expected_id=expected_id), Cluster(bounded), {}, {})
    admin = TopicAdmin(bounded)
    try:
        async with asyncio.timeout(_SIDE_SECONDS_MAX):
            await _fill_in(side, admin, names)
    except TimeoutError:
        side.facts = replace(side.facts, unreachable=f"no answer within {_SIDE_SECONDS_MAX:.0f} s")
    except ReplicatorError as error:
        side.facts = replace(side.facts, unreachable=str(error))
    finally:
        await admin.close()
    return side


async def _fill_in(side: _Side, admin: TopicAdmin, names: list[str]) -> None:
    cluster = side.cluster
    await cluster.open()
    connection = await cluster.any_connection()
    began = time.time_ns() // 1_000_000
    controller_ms = await controller_time_ms(connection)
    middle_ms = (began + time.time_ns() // 1_000_000) / 2
    verdict = await may_write_markers(connection)
    side.facts = replace(
        side.facts,
        cluster_id=cluster.cluster_id,
        clock_ahead_seconds=None if controller_ms is None else (controller_ms - middle_ms) / 1000,
        clock_offered=offers_time(connection),
        markers_allowed={Verdict.ALLOWED: True, Verdict.REFUSED: False, Verdict.NOT_OFFERED: False}.get(verdict),
    )
    await cluster.refresh(names)
    side.configs = await admin.describe_configs([name for name in names if name in cluster.topics])
    side.operations = await topic_operations(cluster, names)


async def _parity(flow: FlowSpec, status: FlowStatus, there: _Side, here: _Side, ours: tuple[Rule, ...]) -> list[Check]:
    topics = {mirror.topic: mirror.target_topic for mirror in status.mirrors}
    east, west = await asyncio.gather(_side_parity(there), _side_parity(here))
    to_grant = acl_command(on_cluster(Operation.ALTER), there.cluster.spec)
    return [*compared(flow, topics, east, west, ours), *closable(flow, topics, east, to_grant=to_grant)]


async def _side_parity(side: _Side) -> SideParity:
    """Return the rights, users and quotas of applications on one side, as far as they can be read."""
    if side.facts.unreachable is not None:
        return SideParity(unread=f"{side.facts.alias} cannot be reached")
    spec = side.cluster.spec
    admin = TopicAdmin(spec)
    reader = ClusterAuthorizer(side.cluster, admin)
    found = SideParity()
    try:
        async with asyncio.timeout(_SIDE_SECONDS_MAX):
            authorizer = await reader.read()
            found = replace(
                found,
                rules=authorizer.rules if authorizer is not None else (),
                has_authorizer=authorizer is not None,
                us=authorizer.us if authorizer is not None else None,
                allows_everyone=False if authorizer is not None and await reader.nobody_is_allowed() else None,
                may_place_rules=await reader.may_place(),
            )
            connection = await side.cluster.any_connection()
            offered = {"users": offers_scram_users(connection), "quotas": offers_quotas(connection)}
            found = replace(found, not_offered=frozenset(name for name, is_there in offered.items() if not is_there))
            if offered["users"]:
                found = replace(found, users=await reader.acls.scram_users())
            if offered["quotas"]:
                found = replace(found, quotas=await client_quotas(connection))
            return found
    except TimeoutError:
        return replace(found, unread=f"{spec.alias} does not answer within {_SIDE_SECONDS_MAX:.0f} s")
    except ReplicatorError as error:
        return replace(found, unread=str(error))
    finally:
        await admin.close()


def _topic(there: _Side, here: _Side, name: str, target_name: str) -> TopicFacts:
    source, target = there.cluster.topics.get(name), here.cluster.topics.get(target_name)
    return TopicFacts(
        name,
        source.replication_factor if source is not None else None,
        target.replication_factor if target is not None else None,
        target.in_sync_min if target is not None else None,
        _number(there.configs.get(name)),
        _number(here.configs.get(target_name)),
        sum(leader.node < 0 for leader in target.leaders.values()) if target is not None else 0,
    )


def _number(config: TopicConfig | None) -> int | None:
    value = config.effective.get(_MIN_IN_SYNC) if config is not None else None
    return int(value.value) if value is not None and value.value is not None else None


def _reverse(there: _Side, source: ClusterSpec) -> list[Check]:
    """Report whether a reverse flow could write to the present source."""
    if there.facts.unreachable is not None:
        return [warn("reverse", f"could not ask whether a reverse flow may write to {source.alias}")]
    lacks = {name: lacking(_TO_MIRROR, allowed) for name, allowed in there.operations.items()}
    names = sorted(name for name, lack in lacks.items() if lack)
    if names:
        wanted = ", ".join(_TO_MIRROR)
        return [
            warn(
                "reverse",
                f"{source.alias} does not allow {wanted} on {names[0]}{' and others' if len(names) > 1 else ''}: "
                "grant that before the way back is needed",
                acl_command(on_topic(names[0], *lacks[names[0]]), source),
            )
        ]
    if there.facts.markers_allowed is False:
        return [warn("reverse", f"{source.alias} takes no bulk markers: the way back fills by transactions")]
    return [ok("reverse", f"{source.alias} allows what a reverse flow needs on these topics")]
