"""The facts about a flow that decide whether it could be switched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.model.operations.report import Check

if TYPE_CHECKING:
    from replicator.model.spec import Objectives
    from replicator.model.status.groups import GroupStatus
    from replicator.model.status.snapshots import FlowStatus


@dataclass(frozen=True, slots=True)
class SideFacts:
    """One cluster.

    Attributes:
        alias: Its name in the flow file.
        unreachable: Why it could not be asked; None if it answered.
        cluster_id: The id it reports.
        expected_id: The id in the flow's record on the target.
        clock_ahead_seconds: How far its clock is ahead of this machine's; None if it does not report it.
        markers_allowed: Whether we may write control markers in bulk; None if that could not be asked.
        clock_offered: Whether its version of Kafka reports the time at all.
    """

    alias: str
    unreachable: str | None = None
    cluster_id: str | None = None
    expected_id: str | None = None
    clock_ahead_seconds: float | None = None
    markers_allowed: bool | None = None
    clock_offered: bool = True


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """One mirror's topics on both sides; None for what is not known."""

    topic: str
    source_replicas: int | None
    target_replicas: int | None
    target_in_sync: int | None
    source_min_in_sync: int | None
    target_min_in_sync: int | None
    target_leaderless: int = 0


@dataclass(frozen=True, slots=True)
class ReadinessFacts:
    """All facts about a flow.

    Attributes:
        objectives: What the operator wants.
        status: The whole flow, from all its daemons.
        source: The source cluster.
        target: The target cluster.
        topics: Its mirrors.
        parity: Findings about rules, users and quotas.
        reverse_rights: Findings about our rights on the source, which a reverse flow writes to.
        groups: How far each consumer group has followed.
        groups_wait_for: What holds all of them back; None for nothing.
        both_ways: Whether both sides are open, so that there is nothing to switch.
        foreign: Where someone else wrote to the mirrors: source topic, partition, offsets; None if not known.
        markers_shown: Whether the target shows a marker of the flow, which a fence is verified by; None if not known.
    """

    objectives: Objectives
    status: FlowStatus
    source: SideFacts
    target: SideFacts
    topics: tuple[TopicFacts, ...] = ()
    reverse_rights: tuple[Check, ...] = ()
    parity: tuple[Check, ...] = ()
    groups: tuple[GroupStatus, ...] = ()
    groups_wait_for: str | None = None
    both_ways: bool = False
    foreign: tuple[tuple[str, int, int], ...] | None = ()
    markers_shown: bool | None = True
