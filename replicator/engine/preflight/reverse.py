"""Findings about a standby flow: its targets are the open side, and it does not copy to them yet.

A switch makes it take over what its counterpart mirrors, in place (`engine.switch.takeover`). So a topic that the
counterpart copies from this flow's target is not a stranger there: the counterpart's record names it, on both sides.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.topics import selection
from replicator.engine.preflight.phrases import count, some
from replicator.engine.state import records as state
from replicator.engine.state.ownership.provenance import topics_of
from replicator.model.operations.report import Check, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from replicator.core.copy.attaching.facts import Writers
    from replicator.core.topics.ownership import MirrorOnSource
    from replicator.model.spec import FlowSpec
    from replicator.state_pb import state_pb2 as pb
    from replicator.wire.cluster import Cluster
    from replicator.wire.topology import Topic


class Relation(enum.Enum):
    """What a topic is to a standby flow."""

    TAKEN_OVER = "the counterpart's mirror leads back to it"
    NOT_YET = "the counterpart selects it, but has no mirror of it yet"
    CREATED_AGAIN = "the counterpart's mirror leads back to an earlier topic of that name"
    UNKNOWN = "the counterpart selects it, but its records cannot be read"
    STRANGE = "nothing leads back to it"


@dataclass(frozen=True, slots=True)
class StandBy:
    """The topics of one flow that wait for a switch.

    Attributes:
        counterpart: The flow in the other direction, which this one takes over from at a switch; None if there is none.
        relations: What each such topic of the source is to the flow.
    """

    counterpart: FlowSpec | None = None
    relations: Mapping[str, Relation] = field(default_factory=dict)

    def of(self, *relations: Relation) -> list[str]:
        """Return the topics with one of these relations, sorted by name."""
        return sorted(name for name, relation in self.relations.items() if relation in relations)

    @property
    def judged_there(self) -> frozenset[str]:
        """Topics that the counterpart's own findings cover: this flow changes nothing about them."""
        return frozenset(self.of(Relation.TAKEN_OVER, Relation.NOT_YET, Relation.CREATED_AGAIN, Relation.UNKNOWN))


def counterpart_of(flow: FlowSpec, flows: Sequence[FlowSpec]) -> FlowSpec | None:
    """Return the reverse flow of this one, or the flow that this one is the reverse of."""
    return next((one for one in flows if flow.name == one.reverse_of or one.name == flow.reverse_of), None)


def stands_by(flow: FlowSpec, writers: Writers | None, target_topic: str) -> bool:
    """Return whether a target topic is not copied to before a switch; `writers` is None before the first start.

    A reverse flow stands by from the beginning.
    """
    return flow.reverse_of is not None if writers is None else not writers.copies(target_topic)


async def standby_of(
    counterpart: FlowSpec | None,
    clusters: tuple[Cluster, Cluster],
    waiting: Mapping[str, Topic],
    known: Collection[str],
    records: Mapping[bytes, bytes] | None,
) -> StandBy:
    """Find out what the topics that wait for a switch are: on their target, which is the open side.

    Args:
        counterpart: The flow in the other direction, None if the file has none.
        clusters: Source and target of the standby flow, as last described.
        waiting: Topics of the target, by the source topic that would be copied to them.
        known: Source topics that the flow has mirrored before.
        records: The records of the source's state topic; None if they may not be read.

    Raises:
        KafkaError: The target cannot be asked.
        TimedOut: A transaction stays open on its state topic.
    """
    if not waiting or counterpart is None:
        return StandBy(counterpart, {name: Relation.STRANGE for name in waiting if name not in known})
    source, target = clusters
    mirrors = None
    if records is not None:
        mirrors = _mirrors_of(records, counterpart, target.cluster_id, source.cluster_id)
    means = (await topics_of(counterpart, target, source.cluster_id))[0].selected
    leads_to = {topic: selection.target_name(counterpart.rename, topic) for topic in means}
    relations: dict[str, Relation] = {}
    for name, topic in waiting.items():
        relation = relation_of(source.topics[name], topic, mirrors, selected=leads_to.get(topic.name) == name)
        if relation is Relation.TAKEN_OVER or name not in known:
            relations[name] = relation
    return StandBy(counterpart, relations)


def _mirrors_of(
    records: Mapping[bytes, bytes], counterpart: FlowSpec, source_id: str | None, target_id: str | None
) -> dict[str, pb.MirrorRecord]:
    """Return the mirrors of a counterpart, by their target topic.

    Args:
        records: Records of its target's state topic.
        counterpart: The flow.
        source_id: Cluster id of its source.
        target_id: Cluster id of its target.
    """
    found = state.find_flow(records, counterpart.name, source_id, target_id)
    return {one.target_topic: one for one in state.mirrors_of(records, found.uid)} if found is not None else {}


def relation_of(
    source: Topic, target: Topic, mirrors: Mapping[str, pb.MirrorRecord] | None, *, selected: bool
) -> Relation:
    """Return what a topic is to a standby flow.

    Args:
        source: The topic on the flow's source, which is the counterpart's target.
        target: The topic the flow would copy it to, on the counterpart's source.
        mirrors: The counterpart's mirrors, by their target topic; None if they cannot be read.
        selected: Whether the counterpart would copy `target` to `source`.
    """
    record = mirrors.get(source.name) if mirrors is not None else None
    if record is None or not state.names_its_topic(record):
        not_recorded = Relation.UNKNOWN if mirrors is None else Relation.NOT_YET
        return not_recorded if selected else Relation.STRANGE
    if record.source_topic != target.name:
        return Relation.STRANGE
    same = _same(record.source_topic_id, target.topic_id) and _same(record.target_topic_id, source.topic_id)
    return Relation.TAKEN_OVER if same else Relation.CREATED_AGAIN


def _same(recorded: bytes, now: bytes) -> bool:
    """Return whether two ids belong to the same topic; an unknown id matches any."""
    return not any(recorded) or not any(now) or recorded == now


def standing_by(found: StandBy, target: str) -> list[Check]:
    """Report which topics of a flow wait for a switch.

    Args:
        found: Those topics.
        target: Alias of the flow's target.
    """
    if not found.relations or found.counterpart is None:
        return []
    name = found.counterpart.name
    checks = []
    taken = found.of(Relation.TAKEN_OVER)
    if taken:
        checks.append(
            ok("mirrors", f"standby: at a switch it takes over {count(len(taken), 'topic')} from flow {name}")
        )
    if later := found.of(Relation.NOT_YET):
        checks.append(
            warn(
                "mirrors",
                f"standby, but flow {name} has no mirror of {some(later)} yet: a switch leaves it out",
                f"start flow {name}, and see its findings here",
            )
        )
    if other := found.of(Relation.CREATED_AGAIN):
        checks.append(
            warn(
                "mirrors",
                f"standby, but {some(other)} is no longer the topic that flow {name} mirrored: it was deleted and "
                f"created again, on {target} or on the other side",
                f"fix the mirrors of flow {name} (replicator mirror list {name}); delete nothing on {target}: it is "
                "the open side",
            )
        )
    return checks


def strange(found: StandBy, topic: str, end: int, flow: FlowSpec) -> Check:
    """Report that a standby flow would meet records on the open side that nothing leads back to.

    Args:
        found: The topics that wait for a switch.
        topic: The topic on the target.
        end: Its end offset.
        flow: The standby flow.
    """
    there = found.counterpart
    whose = f"flow {there.name} does not copy it" if there is not None else "no flow of the file copies it"
    return fail(
        "mirrors",
        f"{topic} on {flow.target}, the open side, holds records up to offset {end:,}, but {whose} to {flow.source} "
        "under the name that is copied back: after a switch it would stop as foreign_writer",
        "make both flows select the same topics under the same names (topics.include, topics.rename), or exclude it; "
        f"do not delete it: {flow.target} is the open side",
    )


def back_step(copied: MirrorOnSource, topic: str, found: StandBy, otherwise: str) -> str:
    """Return what helps if a topic to be copied back is already copied, but under another name.

    Args:
        copied: The mirror that has it as its source.
        topic: The topic on the target.
        found: The topics that wait for a switch.
        otherwise: What helps if a flow other than the counterpart copies it.
    """
    if found.counterpart is None or copied.flow != found.counterpart.name:
        return otherwise
    return f"make topics.rename lead {copied.mirror}, and nothing else, back to {topic}; or exclude it"
