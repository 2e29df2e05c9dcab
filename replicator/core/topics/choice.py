"""Which topics of its source a flow copies, and which of those that match a pattern it leaves out, and why.

The single rule, used by the topic sync, by `validate --connect` and by `verify`.

A pattern leaves out what flows made: a copy whose records came from the flow's own target under another name, over
any number of clusters (each step round such a ring would add a topic, without end), and topics to which records were
set aside. A copy that came from elsewhere is copied on: chains are wanted, as with MirrorMaker 2, whose `isCycle`
(`MirrorSourceConnector`) leaves out the same. A full name always selects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.topics.selection import left_out_by_name, listed, literal, matches, target_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from replicator.model.spec import FlowSpec

_LIKE_INTERNAL = (
    "is named like an internal topic of MirrorMaker or Kafka Connect (mm2-*, heartbeats, *.internal, *-internal, "
    "*.replica)"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """A topic of a cluster, by the cluster's id, from which a copy was made."""

    cluster_id: str
    topic: str


@dataclass(frozen=True, slots=True)
class RecordedCopy:
    """What a flow made of a topic, according to the `replicator.state` on the same cluster.

    Attributes:
        flow: The flow's name.
        trail: Where the records came from, the nearest first; empty for a topic to which records were set aside.
        begun: Whether the topic exists; False while the flow is about to create it.
    """

    flow: str
    trail: tuple[Origin, ...] = ()
    begun: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """The topics of a source, as a flow sees them.

    Attributes:
        selected: The topics that it selects, in order of their names.
        left_out: The topics that match a pattern but are left out, each with the reason: a phrase that follows the
            topic's name in a sentence.
    """

    selected: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def asks_for_origins(flow: FlowSpec) -> bool:
    """Return whether it matters to a flow what other flows made; it does not if every topic is named in full."""
    return not all(literal(pattern) for pattern in flow.topics.include)


def choose(
    flow: FlowSpec, target_id: str | None, names: Iterable[str], made: Mapping[str, Sequence[RecordedCopy]]
) -> Choice:
    """Return which topics of its source a flow copies.

    Args:
        flow: The flow's policy.
        target_id: Cluster id of its target; None if it is unknown, and then no copy is left out for its origin.
        names: All topics of the source.
        made: What flows made there, by topic.
    """
    selected: list[str] = []
    left_out: dict[str, str] = {}
    for name in sorted(names):
        if left_out_by_name(flow.topics, name):
            why: str | None = _LIKE_INTERNAL
        elif not matches(flow.topics, name):
            continue
        else:
            why = None if listed(flow.topics, name) else _why_left_out(flow, target_id, name, made.get(name, ()))
        if why is None:
            selected.append(name)
        else:
            left_out[name] = why
    return Choice(tuple(selected), left_out)


def trail_of(source_id: str, topic: str, made: Sequence[RecordedCopy]) -> tuple[Origin, ...]:
    """Return where the records of a copy of `topic` come from: that topic, and everything it was copied from."""
    further = (origin for one in made for origin in one.trail)
    return tuple(dict.fromkeys((Origin(source_id, topic), *further)))


def _why_left_out(flow: FlowSpec, target_id: str | None, name: str, made: Sequence[RecordedCopy]) -> str | None:
    for one in made:
        if not one.begun:
            return f"is about to be created by flow {one.flow}; whether it is a copy is not known yet"
        if not one.trail:
            return f"holds records that flow {one.flow} set aside"
        there = [origin.topic for origin in one.trail if origin.cluster_id == target_id]
        # A copy back to the very topic adds no topic: with `loop_guard` its records are told apart, else it is refused.
        if there and target_name(flow.rename, name) not in there:
            return f"is a copy made by flow {one.flow}, of records that come from {there[0]} of {flow.target}"
    return None
