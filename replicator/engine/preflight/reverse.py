"""What a preflight says of a flow that stands by: its targets are the open side, and it copies to none of them yet.

A switch makes it take over what its counterpart mirrors, in place (`engine.switch.takeover`). So a topic that the
counterpart copies from its target is no stranger there: it is the one that the counterpart's record names, on both
sides.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.topics import selection
from replicator.engine.preflight.phrases import count, some
from replicator.engine.state import records as state
from replicator.engine.state.ownership.provenance import topics_of
from replicator.model.report import Check, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from replicator.core.copy.attach_facts import Writers
    from replicator.core.topics.ownership import Copied
    from replicator.model.spec import FlowSpec
    from replicator.state_pb import state_pb2 as pb
    from replicator.wire.cluster import Cluster
    from replicator.wire.topology import Topic


class Place(enum.Enum):
    """What a topic is to a flow that stands by."""

    TAKEN_OVER = "the counterpart's mirror leads back to it"
    NOT_YET = "the counterpart means it, and has no mirror of it yet"
    CREATED_AGAIN = "the counterpart's mirror leads back to a topic of that name that is gone"
    UNKNOWN = "the counterpart means it, and what that has mirrored cannot be read"
    STRANGE = "nothing leads back to it"


@dataclass(frozen=True, slots=True)
class StandBy:
    """What of one flow waits for a switch.

    Attributes:
        counterpart: The flow that goes the other way: it is taken over from at a switch; None where the file has none.
        places: What each such topic of the source is.
    """

    counterpart: FlowSpec | None = None
    places: Mapping[str, Place] = field(default_factory=dict)

    def of(self, *places: Place) -> list[str]:
        """Return the topics that are one of these, in order of their names."""
        return sorted(name for name, place in self.places.items() if place in places)

    @property
    def judged_there(self) -> frozenset[str]:
        """Topics of which the counterpart's own findings tell everything: this flow changes nothing of them."""
        return frozenset(self.of(Place.TAKEN_OVER, Place.NOT_YET, Place.CREATED_AGAIN, Place.UNKNOWN))


def counterpart_of(flow: FlowSpec, flows: Sequence[FlowSpec]) -> FlowSpec | None:
    """Return the flow that is the way back of this one, or whose way back this is."""
    return next((one for one in flows if flow.name == one.reverse_of or one.name == flow.reverse_of), None)


def stands_by(flow: FlowSpec, writers: Writers | None, target_topic: str) -> bool:
    """Return whether a topic of the target is not copied to before a switch; `writers` is None before the first start.

    A way back stands by from its first day on.
    """
    return flow.reverse_of is not None if writers is None else not writers.copies(target_topic)


async def standby_of(
    counterpart: FlowSpec | None,
    clusters: tuple[Cluster, Cluster],
    waiting: Mapping[str, Topic],
    known: Collection[str],
    records: Mapping[bytes, bytes] | None,
) -> StandBy:
    """Find out what the topics that wait for a switch are: on their target they are no strangers, but the open side.

    Args:
        counterpart: The flow that goes the other way, None where the file has none.
        clusters: Source and target of the flow that stands by, as they were described last.
        waiting: Topics of the target, by the topic of the source that would be copied to them.
        known: Topics of the source that the flow has mirrored before.
        records: What is recorded on the source; None where that may not be read.

    Raises:
        KafkaError: The target cannot be asked.
        TimedOut: A transaction stays open on its state topic.
    """
    if not waiting or counterpart is None:
        return StandBy(counterpart, {name: Place.STRANGE for name in waiting if name not in known})
    source, target = clusters
    mirrors = None
    if records is not None:
        mirrors = _mirrors_of(records, counterpart, target.cluster_id, source.cluster_id)
    means = (await topics_of(counterpart, target, source.cluster_id))[0].selected
    leads_to = {topic: selection.target_name(counterpart.rename, topic) for topic in means}
    places: dict[str, Place] = {}
    for name, topic in waiting.items():
        place = place_of(source.topics[name], topic, mirrors, meant=leads_to.get(topic.name) == name)
        if place is Place.TAKEN_OVER or name not in known:
            places[name] = place
    return StandBy(counterpart, places)


def _mirrors_of(
    records: Mapping[bytes, bytes], counterpart: FlowSpec, source_id: str | None, target_id: str | None
) -> dict[str, pb.MirrorRecord]:
    """Return the mirrors of a counterpart, by the topic of its own target.

    Args:
        records: Of the state topic of its target.
        counterpart: The flow.
        source_id: Cluster id of its source.
        target_id: Cluster id of its target.
    """
    found = state.find_flow(records, counterpart.name, source_id, target_id)
    return {one.target_topic: one for one in state.mirrors_of(records, found.uid)} if found is not None else {}


def place_of(source: Topic, target: Topic, mirrors: Mapping[str, pb.MirrorRecord] | None, *, meant: bool) -> Place:
    """Return what a topic is to a flow that stands by.

    Args:
        source: The topic of the flow's source: the counterpart's target.
        target: What the flow would copy it to: the counterpart's source.
        mirrors: Of the counterpart, by the topic of its target; None where they cannot be read.
        meant: Whether the counterpart would copy the one to the other.
    """
    record = mirrors.get(source.name) if mirrors is not None else None
    if record is None or not state.names_its_topic(record):
        not_recorded = Place.UNKNOWN if mirrors is None else Place.NOT_YET
        return not_recorded if meant else Place.STRANGE
    if record.source_topic != target.name:
        return Place.STRANGE
    same = _same(record.source_topic_id, target.topic_id) and _same(record.target_topic_id, source.topic_id)
    return Place.TAKEN_OVER if same else Place.CREATED_AGAIN


def _same(recorded: bytes, now: bytes) -> bool:
    """Return whether two ids are those of one topic; one that is not known denies nothing."""
    return not any(recorded) or not any(now) or recorded == now


def standing_by(found: StandBy, target: str) -> list[Check]:
    """Say what of a flow waits for a switch.

    Args:
        found: What does.
        target: Alias of the flow's target.
    """
    if not found.places or found.counterpart is None:
        return []
    name = found.counterpart.name
    checks = []
    taken = found.of(Place.TAKEN_OVER)
    if taken:
        checks.append(
            ok("mirrors", f"stands by: at a switch it takes over {count(len(taken), 'topic')} from flow {name}")
        )
    if later := found.of(Place.NOT_YET):
        checks.append(
            warn(
                "mirrors",
                f"stands by, and flow {name} has no mirror of {some(later)} yet: a switch is not about what it does "
                "not mirror",
                f"start flow {name}, and see what is said of it here",
            )
        )
    if other := found.of(Place.CREATED_AGAIN):
        checks.append(
            warn(
                "mirrors",
                f"stands by, and {some(other)} is not the topic any more that flow {name} has mirrored, on {target} "
                "or on the other side: it was deleted and created again",
                f"bring flow {name} in step (replicator mirror list {name}); nothing is to be deleted on {target}, "
                "the open side",
            )
        )
    return checks


def strange(found: StandBy, topic: str, end: int, flow: FlowSpec) -> Check:
    """Say that a flow which stands by would meet records on the open side that nothing leads back to.

    Args:
        found: What waits for a switch.
        topic: On the target.
        end: Up to where it holds records.
        flow: The one that stands by.
    """
    there = found.counterpart
    whose = f"flow {there.name} does not copy it" if there is not None else "no flow of the file copies it"
    return fail(
        "mirrors",
        f"{topic} on {flow.target}, the open side, holds records up to offset {end:,}, and {whose} to {flow.source} "
        "under the name that is copied back: after a switch it would stop as foreign_writer",
        f"let both flows mean the same topics under the same names (topics.include, topics.rename), or exclude it; it "
        f"is not to be deleted: {flow.target} is the open side",
    )


def back_step(copied: Copied, topic: str, found: StandBy, otherwise: str) -> str:
    """Return what helps where a topic that is to be copied back is already copied, but to another name.

    Args:
        copied: The mirror that it is the source of.
        topic: On the target.
        found: What waits for a switch.
        otherwise: What helps where another flow than the counterpart copies it.
    """
    if found.counterpart is None or copied.flow != found.counterpart.name:
        return otherwise
    return f"let topics.rename lead {copied.mirror} back to {topic}, and nothing else to it; or exclude it"
