"""The faults there are: what each one harms, for how long, and what a bench must have for it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class Fault(enum.StrEnum):
    """One kind of harm, or one change made while data flows."""

    DAEMON_KILL = "daemon-kill"
    """SIGKILL, half of the time with the state directory wiped, then a new start."""
    DAEMON_PAUSE = "daemon-pause"
    """SIGSTOP for longer than the lease, then SIGCONT: a holder that does not know it lost its claim."""
    DAEMON_TERM = "daemon-term"
    """SIGTERM: it drains and ends; then a new start."""
    TARGET_KILL = "target-kill"
    """SIGKILL of the node that leads some target partition, then a new start."""
    TARGET_PAUSE = "target-pause"
    """SIGSTOP of a target node, then SIGCONT."""
    SOURCE_KILL = "source-kill"
    """SIGKILL of a source node, then a new start."""
    LATENCY = "latency"
    """Every chunk on a link is late."""
    BANDWIDTH = "bandwidth"
    """A link carries little."""
    BLACK_HOLE = "black-hole"
    """A link swallows everything in one direction; connections stay up."""
    RESET_PEER = "reset-peer"
    """Connections of a link end by RST after a moment."""
    SLICER = "slicer"
    """A link delivers in small pieces."""
    LIMIT_DATA = "limit-data"
    """Connections of a link end after so many bytes: in the middle of a request, an answer, a batch."""
    TARGET_DISK = "target-disk"
    """The disk of a target node is full; later it has room again and the node is started."""
    STATE_DISK = "state-disk"
    """The disk of a daemon's state directory is full, then has room again."""
    GROW = "grow"
    """A source topic gets one more partition."""
    CONFIG = "config"
    """A setting of a source topic changes."""
    FLOW_PAUSE = "flow-pause"
    """The flow is paused by command, then resumed."""
    DELETE_RECORDS = "delete-records"
    """Some of what is copied already is deleted on the source."""


class Place(enum.StrEnum):
    """What a fault picks one of."""

    DAEMON = "daemon"
    TARGET_NODE = "target node"
    TARGET_LEADER = "target leader"
    SOURCE_NODE = "source node"
    LINK = "link"
    FLOW = "flow"
    TOPIC = "topic"


@dataclass(frozen=True, slots=True)
class Rule:
    """How a fault may be used.

    Attributes:
        place: What it picks one of.
        seconds: Shortest and longest time from its begin to its end; None for a change that has no end.
        needs_toxics: Whether it takes Toxiproxy.
        needs_disks: Whether it takes small disks.
    """

    place: Place
    seconds: tuple[float, float] | None = None
    needs_toxics: bool = False
    needs_disks: bool = False


LEASE_TTL_SECONDS = 3.0
"""Lease of the daemons of a run."""

HOLD_SECONDS_MAX = 8.0
"""No fault holds a request back for longer. The daemons' `client.doubt_margin` is set above it: that a lost request
takes effect within `request_timeout` + `doubt_margin` or never is what the operator promises the replicator."""

_LINK_SECONDS = (2.0, HOLD_SECONDS_MAX)

RULES: Mapping[Fault, Rule] = {
    Fault.DAEMON_KILL: Rule(Place.DAEMON, (0.1, 3.0)),
    Fault.DAEMON_PAUSE: Rule(Place.DAEMON, (LEASE_TTL_SECONDS + 1.0, HOLD_SECONDS_MAX)),
    Fault.DAEMON_TERM: Rule(Place.DAEMON, (0.1, 3.0)),
    Fault.TARGET_KILL: Rule(Place.TARGET_LEADER, (1.0, HOLD_SECONDS_MAX)),
    Fault.TARGET_PAUSE: Rule(Place.TARGET_NODE, (1.0, HOLD_SECONDS_MAX)),
    Fault.SOURCE_KILL: Rule(Place.SOURCE_NODE, (1.0, HOLD_SECONDS_MAX)),
    Fault.LATENCY: Rule(Place.LINK, _LINK_SECONDS, needs_toxics=True),
    Fault.BANDWIDTH: Rule(Place.LINK, _LINK_SECONDS, needs_toxics=True),
    Fault.BLACK_HOLE: Rule(Place.LINK, _LINK_SECONDS, needs_toxics=True),
    Fault.RESET_PEER: Rule(Place.LINK, _LINK_SECONDS, needs_toxics=True),
    Fault.SLICER: Rule(Place.LINK, _LINK_SECONDS, needs_toxics=True),
    Fault.LIMIT_DATA: Rule(Place.LINK, _LINK_SECONDS, needs_toxics=True),
    Fault.TARGET_DISK: Rule(Place.TARGET_NODE, (5.0, 10.0), needs_disks=True),
    Fault.STATE_DISK: Rule(Place.DAEMON, (3.0, 10.0), needs_disks=True),
    Fault.GROW: Rule(Place.TOPIC),
    Fault.CONFIG: Rule(Place.TOPIC),
    Fault.FLOW_PAUSE: Rule(Place.FLOW, (1.0, 5.0)),
    Fault.DELETE_RECORDS: Rule(Place.TOPIC),
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a plan is made for.

    Attributes:
        daemons: How many daemons run the flow.
        source_nodes: Nodes of the source cluster.
        target_nodes: Nodes of the target cluster.
        topics: How many topics are copied.
        no_toxics: Why there is no Toxiproxy; empty where there is.
        no_disks: Why there are no small disks; empty where there are.
    """

    daemons: int
    source_nodes: int
    target_nodes: int
    topics: int
    no_toxics: str = ""
    no_disks: str = ""


QUORUM_NODES = 3
"""With fewer nodes, one that is down takes the cluster with it."""


def usable(snapshot: Snapshot, wanted: Sequence[Fault]) -> tuple[tuple[Fault, ...], dict[Fault, str]]:
    """Return the faults this bench can have, and why not the others."""
    reasons = {fault: why for fault in wanted if (why := _obstacle(snapshot, fault))}
    return tuple(fault for fault in wanted if fault not in reasons), reasons


def _obstacle(snapshot: Snapshot, fault: Fault) -> str:
    rule = RULES[fault]
    if rule.needs_toxics and snapshot.no_toxics:
        return snapshot.no_toxics
    if rule.needs_disks and snapshot.no_disks:
        return snapshot.no_disks
    if rule.place is Place.SOURCE_NODE and snapshot.source_nodes < QUORUM_NODES:
        return f"the source has {snapshot.source_nodes} node(s); one may only die where {QUORUM_NODES} run"
    if rule.place in {Place.TARGET_NODE, Place.TARGET_LEADER} and snapshot.target_nodes < QUORUM_NODES:
        return f"the target has {snapshot.target_nodes} node(s); one may only die where {QUORUM_NODES} run"
    return ""
