"""What flows made on the cluster that a flow reads: copies, and topics to which records were set aside.

All of it is in that cluster's own `replicator.state`, written by those flows. A flow announces a topic before it
creates it, so whoever sees the topic and then reads the state topic to its end finds the announcement there.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from hashlib import blake2b
from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import Role
from replicator.core.topics.choice import Choice, Origin, RecordedCopy, asks_for_origins, choose
from replicator.engine.logs.dead_letter import SUFFIX
from replicator.engine.state import records as state
from replicator.engine.state.topic.source import SourceState
from replicator.errors import AuthorizationFailed, DamagedRecord
from replicator.model.operations.resolution import How
from replicator.model.status.states import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from replicator.model.spec import FlowSpec
    from replicator.state_pb import state_pb2 as pb
    from replicator.wire.cluster import Cluster
    from replicator.wire.topology import Topic

_DIGEST_BYTES = 16
_EXPORTED = re.compile(r"(?P<topic>.+)\.divergent\.(?P<epoch>[0-9]{1,10})", re.ASCII)


def digest_of(name: str) -> bytes:
    """Return the 16 bytes that stand for a topic's name where many names are recorded."""
    return blake2b(name.encode(), digest_size=_DIGEST_BYTES).digest()


def packed(digests: Iterable[bytes]) -> bytes:
    """Return digests of 16 bytes in their recorded form."""
    return b"".join(sorted(digests))


def unpacked(raw: bytes) -> frozenset[bytes]:
    """Return the digests of a record."""
    return frozenset(raw[at : at + _DIGEST_BYTES] for at in range(0, len(raw), _DIGEST_BYTES))


def made_there(records: Mapping[bytes, bytes], topics: Mapping[str, Topic]) -> dict[str, list[RecordedCopy]]:
    """Return what flows made on a cluster, by topic.

    A mirror whose target was opened is an ordinary topic, and so is one whose topic was deleted and created again.

    Args:
        records: The cluster's `replicator.state`.
        topics: All topics of the cluster.
    """
    made: dict[str, list[RecordedCopy]] = defaultdict(list)
    state.check_writers(records)
    for flow in state.flows_of(records):
        writers = state.writers_of(records, flow.uid)
        for record in state.mirrors_of(records, flow.uid):
            for name in _set_aside(record, topics):
                made[name].append(RecordedCopy(flow.name))
            topic = topics.get(record.target_topic)
            if topic is None or writers is None or writers.of(record.target_topic).role is Role.PROMOTED:
                continue
            if record.target_topic_id in {b"", bytes(16), topic.topic_id} or not any(topic.topic_id):
                trail = (Origin(flow.source_cluster_id, record.source_topic), *came_through(record))
                made[record.target_topic].append(RecordedCopy(flow.name, trail))
        for name in _exported(state.cuts_made(records, flow.uid), topics):
            made[name].append(RecordedCopy(flow.name))
        announced = _announced(records, flow.uid)
        for name in topics if announced else ():
            if name not in made and digest_of(name) in announced:
                made[name].append(RecordedCopy(flow.name, begun=False))
    return made


def on_their_way(records: Mapping[bytes, bytes], source_id: str) -> dict[bytes, str]:
    """Return the digests of topics that flows from a cluster are about to create on this one, with the flow's name."""
    flows = (one for one in state.every_flow(records) if one.source_cluster_id == source_id)
    return {digest: flow.name for flow in flows for digest in _announced(records, flow.uid)}


def _announced(records: Mapping[bytes, bytes], uid: str) -> frozenset[bytes]:
    """Return what a flow is about to create, without announcements whose mirrors are recorded already."""
    making = unpacked(state.get_making(records, uid))
    writers = state.writers_of(records, uid) if making else None
    if writers is not None and not writers.any_copies:
        return frozenset()
    begun = (one.target_topic for one in state.mirrors_of(records, uid) if state.names_its_topic(one))
    return making - frozenset(map(digest_of, begun)) if making else making


def came_through(record: pb.MirrorRecord) -> tuple[Origin, ...]:
    """Return the recorded chain of topics that the source topic of a mirror was copied from."""
    return tuple(Origin(origin.cluster_id, origin.topic) for origin in record.came_through)


def _set_aside(record: pb.MirrorRecord, topics: Mapping[str, Topic]) -> list[str]:
    """Return the dead-letter topic of a mirror, if it exists and records were set aside to it.

    For versions that did not record this, the mirror's last resolutions tell.
    """
    name = record.target_topic + SUFFIX
    skipped = any(
        one.how == How.SKIP and Reason.RECORD_TOO_LARGE in one.reason.split(", ") for one in record.resolutions
    )
    return [name] if (record.has_dead_letter or skipped) and name in topics else []


def _exported(cuts: Mapping[str, int], topics: Iterable[str]) -> Iterator[str]:
    """Yield the topics to which a flow's failbacks exported what an old source had beyond the cut.

    Args:
        cuts: The epoch of the last cut, by target topic.
        topics: All topics of the cluster.
    """
    last = max(cuts.values(), default=-1)
    for name in topics:
        match = _EXPORTED.fullmatch(name)
        if match is not None and match["topic"] in cuts and int(match["epoch"]) <= last:
            yield name


async def topics_of(flow: FlowSpec, source: Cluster, target_id: str | None) -> tuple[Choice, str | None]:
    """Return which topics of its source a flow copies, as of the last description.

    Args:
        flow: The flow's policy.
        source: The cluster that it reads.
        target_id: Cluster id of its target; None if unknown.

    Returns:
        The choice, and why it is unknown which topics are copies (None if it is known).

    Raises:
        KafkaError: The source does not answer.
    """
    if not asks_for_origins(flow):
        return choose(flow, target_id, source.topics, {}), None
    names = set(source.topics)
    provenance = Provenance(SourceState(source))
    made = await provenance.learn()
    return choose(flow, target_id, names, made), provenance.unknown


class Provenance:
    """What flows made on one cluster, as far as is known now.

    Args:
        there: What is recorded on the cluster; its topics were described before.

    Attributes:
        unknown: Why it is unknown which topics are copies, with what helps; None if it is known.
    """

    def __init__(self, there: SourceState) -> None:
        self.unknown: str | None = None
        self._there = there
        self._version = -1
        self._seen: frozenset[str] = frozenset()
        self._made: Mapping[str, Sequence[RecordedCopy]] = {}

    async def learn(self) -> Mapping[str, Sequence[RecordedCopy]]:
        """Return what flows made among the cluster's topics, as of the last description.

        If this user may not read that, nothing is known to be a copy, and `unknown` says so. What was known before the
        right was taken away stays known: else records would start to circulate in a ring of flows.

        Raises:
            KafkaError: The cluster does not answer, or not now; or its state topic was deleted.
            TimedOut: A transaction stays open on its state topic.
        """
        cluster = self._there.cluster
        topics = cluster.topics
        try:
            records = await self._there.read()
        except AuthorizationFailed:
            self.unknown = self._there.unknown
            return self._made
        self.unknown = None
        names, version = frozenset(topics), self._there.version
        if version != self._version or names != self._seen:
            try:
                # In a thread: it takes tens of microseconds for each mirror.
                self._made = await asyncio.to_thread(made_there, dict(records), dict(topics))
            except DamagedRecord as error:
                # Somebody else's record must not end this flow.
                damage = self._there.damaged(error)
                self.unknown = f"{damage}; next: {damage.next_step}"
            else:
                self._version, self._seen = version, names
        return self._made
