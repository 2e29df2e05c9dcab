"""Which topics of its source a flow copies, as far as is known now, and what is recorded before the first is copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.topics.choice import Choice, asks_for_origins, choose, trail_of
from replicator.engine.state import records as state
from replicator.engine.state.ownership.provenance import Provenance, digest_of, packed, unpacked
from replicator.errors import KafkaError, TimedOut
from replicator.model.spec import Start
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from replicator.core.topics.choice import Origin, RecordedCopy
    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.engine.state.topic.source import SourceState
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster
    from replicator.wire.topology import Topic

_LEFT_SECONDS = 600.0
"""How long an announcement lasts that no topic followed: a pass over thousands of topics takes minutes."""

log = get_logger(__name__)


class ChosenTopics:
    """The topics of one flow.

    Args:
        flow: The flow's policy.
        uid: The flow's id.
        there: What is recorded on the source cluster.
        target: The target cluster.
        state_log: The target's `replicator.state`.

    Attributes:
        choice: The result of the last look; None before the first.
    """

    def __init__(self, flow: FlowSpec, uid: str, there: SourceState, target: Cluster, state_log: StateLog) -> None:
        self.choice: Choice | None = None
        self._unknown: str | None = None
        self._flow = flow
        self._uid = uid
        self._there = there
        self._source = there.cluster
        self._target = target
        self._log = state_log
        self._provenance = Provenance(there) if asks_for_origins(flow) else None
        self._made: Mapping[str, Sequence[RecordedCopy]] = {}
        self._waiting: frozenset[str] | None = None
        self._at_end: frozenset[bytes] | None = None
        self._announced: frozenset[str] = frozenset()
        self._left: dict[bytes, float] = {}
        self._over: frozenset[bytes] = frozenset()

    async def choose(self, known: Collection[str]) -> Choice:
        """Decide about all topics of the source, as of the last description.

        While the origins of topics cannot be read, known topics continue, and new ones wait.

        Args:
            known: Topics that are mirrored already.
        """
        waiting: str | None = None
        # Others refresh the metadata, too: for topics that appear from here on, the origins read below may be missing.
        names = tuple(self._source.topics)
        if self._provenance is not None:
            try:
                self._made = await self._provenance.learn()
                self._unknown = self._provenance.unknown
            except (KafkaError, TimedOut) as error:
                waiting = f"waits until it is known whether it is a copy from {self._flow.target}: {error}"
                self._unknown = f"it is not known now which topics of {self._flow.source} are copies: {error}"
        before, made = self.choice, choose(self._flow, self._target.cluster_id, names, self._made)
        self._waiting = None
        if waiting is not None:
            new = {name: waiting for name in made.selected if name not in known}
            made = Choice(tuple(name for name in made.selected if name not in new), {**made.left_out, **new})
            self._waiting = frozenset(new)
        self.choice = made
        reported = before.left_out if before is not None else {}
        for name, why in made.left_out.items():
            if reported.get(name) != why and name not in known:
                log.info("topic left out", flow=self._flow.name, topic=name, why=why)
        return made

    @property
    def unknown(self) -> str | None:
        """Why it is unknown which topics are copies of the target's own; None if it is known or does not matter."""
        return self._unknown or self._there.unknown

    @property
    def selected(self) -> tuple[str, ...]:
        """The topics that are copied, as of the last look."""
        return self.choice.selected if self.choice is not None else ()

    def meant(self) -> list[str]:
        """Return the source's topics, as of the last description, that are or may be copied.

        This includes topics that appeared since the last look, or that wait: nobody may conclude that everything is
        copied and miss them.
        """
        choice, topics = self.choice or Choice(), self._source.topics
        judged = {*choice.selected, *choice.left_out.keys()} - (self._waiting or frozenset())
        fresh = choose(self._flow, None, (name for name in topics if name not in judged), {})
        return [name for name in (*choice.selected, *fresh.selected) if name in topics]

    def left_out(self, topic: str) -> str | None:
        """Return why a topic is left out; None if it is not."""
        return self.choice.left_out.get(topic) if self.choice is not None else None

    def trail(self, topic: str) -> tuple[Origin, ...]:
        """Return the chain of topics that a source topic was itself copied from, the nearest first."""
        return trail_of(self._source.cluster_id or "", topic, self._made.get(topic, ()))[1:]

    # -- what is recorded first -----------------------------------------------------------------------------------

    async def decide_start(self, names: Collection[str]) -> None:
        """Record once which topics existed at the flow's first start: with `start: latest` they start at their end.

        A flow that has mirrors was started before, by a version that recorded this with each mirror. Nothing is
        decided while new topics wait for their origins to be known: they would count as later ones.

        Raises:
            KafkaError: The target does not accept the record; nothing may be copied before it does.
        """
        if self._flow.start is not Start.LATEST or self._at_end is not None or self._waiting is not None:
            return
        digests = packed(_digest(self._source.topics[name]) for name in names)

        def decide(records: Mapping[bytes, bytes]) -> list[Change]:
            if state.get_start(records, self._uid) is not None:
                return []
            first = not state.has_mirrors(records, self._uid)
            return [state.put(state.start_key(self._uid), pb.StartRecord(topics=digests if first else b""))]

        records: Mapping[bytes, bytes] = self._log.records
        if state.get_start(records, self._uid) is None:
            records = await self._log.change(self._uid, decide)
        self._at_end = unpacked(state.get_start(records, self._uid) or b"")

    def begins_at_end(self, name: str) -> bool:
        """Return whether a topic existed at the first start of a flow with `start: latest`."""
        topic = self._source.topics.get(name)
        return topic is not None and self._at_end is not None and _digest(topic) in self._at_end

    async def announce(self, target_topics: Collection[str]) -> None:
        """Record which target topics are about to be created.

        Raises:
            KafkaError: The target does not accept the record.
        """
        if not target_topics:
            return
        standing = unpacked(state.get_making(self._log.records, self._uid))
        digests = frozenset(map(digest_of, target_topics))
        if not digests <= standing:
            await self._log.change(self._uid, lambda records: self._making(records, digests, frozenset()))
        self._announced |= frozenset(target_topics)

    def note_left(self, wanted: Iterable[str], now: float) -> bool:
        """Note announcements that no mirror followed: their source topic is gone, or is no longer selected.

        Another daemon of the flow, with another file, may be about to create such a topic: it announces again what was
        withdrawn meanwhile.

        Args:
            wanted: Target topics of everything that this daemon copies, or would copy.
            now: Monotonic time.

        Returns:
            Whether any was noted for so long that the next change withdraws it.
        """
        announced = unpacked(state.get_making(self._log.records, self._uid))
        left = announced - frozenset(map(digest_of, wanted)) if announced else announced
        self._left = {digest: self._left.get(digest, now) for digest in left}
        self._over = frozenset(digest for digest, since in self._left.items() if now - since >= _LEFT_SECONDS)
        return bool(self._over)

    def settled(
        self, records: Mapping[bytes, bytes], mirrored: Collection[str], others: Collection[str]
    ) -> list[Change]:
        """Return the change that withdraws announcements; call `forget` once it is made.

        Args:
            records: The target's `replicator.state`.
            mirrored: Target topics that the same change records as mirrors. They may have been announced by any daemon
                of this flow, including one that was killed before it recorded them.
            others: Target topics that turned out not to be ours.
        """
        announced = unpacked(state.get_making(records, self._uid))
        over = [*mirrored, *(self._announced & frozenset(others))] if announced else []
        digests = frozenset(map(digest_of, over)) | (self._over if announced else frozenset())
        return self._making(records, frozenset(), digests) if digests else []

    def forget(self, done: Collection[str]) -> None:
        """Forget announcements that were withdrawn."""
        self._announced -= frozenset(done)

    def _making(self, records: Mapping[bytes, bytes], new: frozenset[bytes], over: frozenset[bytes]) -> list[Change]:
        """Return the change to this flow's announcements, by digest; its other daemons share the record."""
        before = unpacked(state.get_making(records, self._uid))
        after = (before | new) - over
        return (
            [state.put(state.making_key(self._uid), pb.MakingRecord(topics=packed(after)))] if after != before else []
        )


def _digest(topic: Topic) -> bytes:
    """Return the 16 bytes that identify a topic: its id, or a digest of its name if the cluster has no ids."""
    return topic.topic_id if any(topic.topic_id) else digest_of(topic.name)
