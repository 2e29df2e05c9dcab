"""The partitions that are not copied now: which brokers they need, and which of them have no leader."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.copy.values import Phase
from replicator.core.copy.writing.answers import FetchOutcome, classify_fetch
from replicator.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    BrokerRefused,
    ConnectionFailed,
    ReplicatorError,
    StateLost,
)
from replicator.model.status.states import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.engine.copy.partitions.partition import Slot
    from replicator.model.names import TopicPartition
    from replicator.wire.cluster import Cluster

_SLOTS_A_TURN = 100
_LEADERLESS = frozenset({FetchOutcome.MOVED, FetchOutcome.MISSING})
_GOES_ON = frozenset({Phase.ATTACHING, Phase.SETTLING, Phase.SEEDING})


@dataclass(frozen=True, slots=True)
class WaitingPartitions:
    """What one look found; each attribute is a pair (source, target).

    Attributes:
        leaders: The brokers that lead them, as far as is known.
        asked: The brokers among them that we send requests to; stopped partitions need none.
        leaderless: The partitions without a leader, except fenced ones.
    """

    leaders: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    asked: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    leaderless: tuple[list[TopicPartition], list[TopicPartition]] = field(default_factory=lambda: ([], []))


async def find_waiting(slots: Iterable[Slot], source: Cluster, target: Cluster) -> WaitingPartitions:
    """Look at the partitions that are not copied, a few at a time: after an outage that may be all of them."""
    found, turns = WaitingPartitions(), Turns()
    for number, slot in enumerate(tuple(slots)):
        if number % _SLOTS_A_TURN == 0:
            await turns.give()
        for side, cluster, where in ((0, source, slot.source), (1, target, slot.target)):
            leader = cluster.leader(where)
            if leader is not None:
                found.leaders[side].add(leader.node)
                if slot.copy.phase in _GOES_ON:
                    found.asked[side].add(leader.node)
            elif slot.copy.reason is not Reason.FENCED and cluster.away(where) is not None:
                found.leaderless[side].append(where)
    return found


def waits_for(error: ReplicatorError) -> Reason:
    """Return what a partition waits for after an error that may pass."""
    if isinstance(error, AuthorizationFailed | AuthenticationFailed):
        return Reason.WAITING_FOR_ACCESS
    if isinstance(error, StateLost):
        return Reason.STATE_LOST
    # A leader that does not respond, or no longer does, is what an election replaces.
    moved = isinstance(error, BrokerRefused) and classify_fetch(error.code) in _LEADERLESS
    return Reason.WAITING_FOR_LEADER if moved or isinstance(error, ConnectionFailed) else Reason.WAITING_FOR_BROKER
