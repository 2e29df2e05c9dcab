"""Leases as values: who should work on which shard of a flow (DESIGN: The path of a shard)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Versioned:
    """A value of a lease store with its revision: above 0, and higher after each change of its key."""

    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Member:
    """A daemon that runs a flow.

    Attributes:
        instance: Its name, new with every start.
        address: Where its control service answers.
        beat: Number of its sign of life; rises with each call.
        leaving: Whether it is about to end and takes no more leases.
    """

    instance: str
    address: str
    beat: int
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one shard.

    Attributes:
        shard: Its number, from 0.
        epoch: Rises with each new holder, and is above every claim seen on the state topic.
        holder: The daemon, empty for nobody.
        successor: The daemon that takes it over from the holder, empty for nobody.
    """

    shard: int
    epoch: int
    holder: str = ""
    successor: str = ""


@dataclass(frozen=True, slots=True)
class LeaseTable:
    """All leases of one flow; members in order of names, leases in order of shards."""

    flow_uid: str
    flow: str = ""
    members: tuple[Member, ...] = ()
    leases: tuple[Lease, ...] = ()

    def member(self, instance: str) -> Member | None:
        """Return a member by name."""
        return next((member for member in self.members if member.instance == instance), None)

    def held_by(self, instance: str) -> tuple[Lease, ...]:
        """Return the leases of a daemon."""
        return tuple(lease for lease in self.leases if lease.holder == instance)


@dataclass(frozen=True, slots=True)
class LeaseCaller:
    """What a daemon sends with every call about leases.

    Attributes:
        flow_uid: The flow.
        flow: Its name, for people.
        instance: The daemon.
        address: Where its control service answers.
        shards: Number of shards of the flow according to the daemon's file.
        floors: Per shard, the highest claim number or lease epoch seen on the state topic. They decide if the
            coordinator's store is older than they are.
        held: Per shard, the epoch under which the daemon holds its lease.
        busy: Shards that another daemon is seen working on, with no intent to stop.
        source_cluster_id: The cluster that the flow reads; empty if unknown, or from a daemon of an older version.
        target_cluster_id: The cluster that the flow writes to.
        lineage_epoch: Rises each time the flow is moved to another source.
    """

    flow_uid: str
    flow: str
    instance: str
    address: str
    shards: int
    floors: Mapping[int, int] = field(default_factory=dict)
    held: Mapping[int, int] = field(default_factory=dict)
    busy: tuple[int, ...] = ()
    source_cluster_id: str = ""
    target_cluster_id: str = ""
    lineage_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Binding:
    """Which flow a uid belongs to, as its first daemon reported it: roles are granted by that name.

    Attributes:
        flow: Its name.
        source_cluster_id: The cluster that it reads; empty while no daemon has reported it.
        target_cluster_id: The cluster that it writes to.
        lineage_epoch: The highest that a daemon has reported; the source is that daemon's.
    """

    flow: str
    source_cluster_id: str = ""
    target_cluster_id: str = ""
    lineage_epoch: int = 0


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    """The answer of a coordinator.

    Attributes:
        table: All leases of the flow, after the call.
        ttl_seconds: How long the caller's leases last from the moment the call began.
        offered: Shards that the caller may acquire now.
    """

    table: LeaseTable
    ttl_seconds: float
    offered: tuple[int, ...] = ()
