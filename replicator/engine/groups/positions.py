"""What the groups have to know about a flow's copying: the places of offsets, and whether ends were passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from replicator.core.offsets.offset_map import OffsetPair
from replicator.core.offsets.translation import KnownOffsets
from replicator.core.offsets.translation import translate as to_target
from replicator.engine.copy.partitions.live_maps import recorded_map
from replicator.engine.logs.bounds import starts_of
from replicator.engine.offsets import translate
from replicator.engine.state import records as state
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import Translation, TranslationState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from replicator.engine.copy.copier import Copier
    from replicator.engine.state.topic.log import StateLog
    from replicator.engine.topics.sync import TopicSync
    from replicator.model.operations.translation import OffsetQuestion

_START_SECONDS = 2.0


class MirrorName(NamedTuple):
    """A mirror's name on the target, and how many partitions it copies."""

    target_topic: str
    partitions: int


class Positions(Protocol):
    """How far the copying of one flow is."""

    def mirrors(self, *, every: bool = False) -> Mapping[str, MirrorName]:
        """Return the mirrors that are being copied, or every mirror, by source topic."""
        ...

    def wanted(self, *, every: bool = False) -> Iterable[TopicPartition]:
        """Return every source partition that the flow selects, copied or not, as of the last description.

        Args:
            every: Include topics that the target refuses, which were never going to be copied.
        """
        ...

    def behind(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """Return the partitions that are not yet copied up to their given source offset, each with a text about it."""
        ...

    async def translate(self, questions: Sequence[OffsetQuestion]) -> Sequence[Translation]:
        """Return the target place of each source offset, one answer per question (`engine.offsets.translate`).

        Raises:
            UsageError: The flow has no such topic or partition.
            CorruptRecords: A map is damaged.
        """
        ...


class PumpPositions:
    """`Positions` of a daemon that copies some partitions of its flow and reads on the state topic how far others are.

    The other daemons record what they have copied every few seconds, with the source's ends. That is dated, but true.

    Args:
        pump: What is copied here.
        sync: The flow's topics.
        state_log: Where the others record their progress.
        uid: The flow's id.
        shards: How many shards it is divided into.
    """

    def __init__(self, pump: Copier, sync: TopicSync, state_log: StateLog, uid: str, shards: int) -> None:
        self._pump = pump
        self._sync = sync
        self._log = state_log
        self._uid = uid
        self._elsewhere = CopiedElsewhere(state_log, uid, shards)

    def mirrors(self, *, every: bool = False) -> Mapping[str, MirrorName]:
        """See `Positions.mirrors`. For a flow that copies nothing, it returns all."""
        some, writers = self._sync.mirrors, state.writers_of(self._log.records, self._uid)
        if not every and writers is not None and writers.any_copies:
            some = {topic: mirror for topic, mirror in some.items() if writers.copies(mirror.target_topic)}
        some = {topic: mirror for topic, mirror in some.items() if not mirror.is_refused}
        return {topic: MirrorName(mirror.target_topic, mirror.partitions) for topic, mirror in some.items()}

    def wanted(self, *, every: bool = False) -> Iterable[TopicPartition]:
        """See `Positions.wanted`."""
        topics, mirrors = self._pump.source.cluster.topics, self._sync.mirrors
        names = [name for name in self._sync.meant() if every or not (name in mirrors and mirrors[name].is_refused)]
        return [TopicPartition(name, number) for name in names for number in topics[name].leaders]

    def behind(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """See `Positions.behind`."""
        found: dict[TopicPartition, str] = {}
        for where, end in ends.items():
            slot = self._pump.partitions.get(where)
            place = translate.copied_place(slot) if slot is not None else self._place_elsewhere(where)
            if place is None:
                found[where] = self._why_not_copied(where)
            elif place.source < end:
                reason = slot.copy.reason if slot is not None else None
                found[where] = f"copied up to {place.source} of {end}" + (f" ({reason})" if reason is not None else "")
        return found

    def _place_elsewhere(self, where: TopicPartition) -> OffsetPair | None:
        mirror = self._sync.mirrors.get(where.topic)
        return self._elsewhere.place(where) if mirror is not None and mirror.fault is None else None

    def _why_not_copied(self, where: TopicPartition) -> str:
        mirror, slot = self._sync.mirrors.get(where.topic), self._pump.partitions.get(where)
        if mirror is not None and mirror.fault is not None:
            return f"not copied: {mirror.fault.text}"
        if slot is not None and slot.copy.reason is not None:
            return f"not copied: {slot.copy.reason}"
        return "not copied yet"

    async def translate(self, questions: Sequence[OffsetQuestion]) -> Sequence[Translation]:
        """See `Positions.translate`."""
        here = [one for one in questions if not self._is_elsewhere(one)]
        there = [one for one in questions if self._is_elsewhere(one)]
        translations = dict(
            zip(here, await translate.answers(self._pump, self._sync.mirrors, here, reverse=False), strict=True)
        )
        if there:
            translations |= await self._translate_elsewhere(there)
        return [translations[one] for one in questions]

    def _is_elsewhere(self, question: OffsetQuestion) -> bool:
        where = TopicPartition(question.topic, question.partition)
        return where not in self._pump.partitions and self._place_elsewhere(where) is not None

    async def _translate_elsewhere(self, questions: Sequence[OffsetQuestion]) -> dict[OffsetQuestion, Translation]:
        mirrors = self.mirrors(every=True)
        targets = {
            TopicPartition(one.topic, one.partition): TopicPartition(mirrors[one.topic].target_topic, one.partition)
            for one in questions
        }
        starts, _ = await starts_of(self._pump.target, targets.values(), timeout_seconds=_START_SECONDS)
        known = {
            where: self._elsewhere.known(where, target, starts.get(target, 0)) for where, target in targets.items()
        }
        translations: dict[OffsetQuestion, Translation] = {}
        for one in questions:
            where = TopicPartition(one.topic, one.partition)
            here = known[where]
            names = (one.topic, targets[where].topic, one.partition, one.offset)
            if here is None:
                translations[one] = Translation(*names, None, TranslationState.NOT_ATTACHED, None, "copied elsewhere")
                continue
            found = to_target(here, one.offset)
            detail = None if found.behind is None else f"another daemon has copied up to {here.proven_end.source}"
            translations[one] = Translation(*names, found.offset, found.state, found.behind, detail)
        return translations


class CopiedElsewhere:
    """What the holders of other shards have recorded about their partitions.

    Args:
        state_log: Where it is recorded.
        uid: The flow's id.
        shards: How many shards there are.
    """

    def __init__(self, state_log: StateLog, uid: str, shards: int) -> None:
        self._log = state_log
        self._uid = uid
        self._keys = [state.source_end_key(uid, shard) for shard in range(shards)]
        self._raw: dict[bytes, bytes] = {}
        self._places: dict[bytes, dict[tuple[str, int], OffsetPair]] = {}

    def place(self, where: TopicPartition) -> OffsetPair | None:
        """Return the last place that was recorded as copied for a partition."""
        for key in self._keys:
            raw = self._log.records.get(key)
            if raw is not None and raw is not self._raw.get(key):  # a thousand partitions parse it once
                self._raw[key] = raw
                self._places[key] = {
                    (one.topic, one.partition): OffsetPair(one.copied, one.copied_target)
                    for one in state.source_end_block(self._log.records, key).entries
                    if one.HasField("copied")
                }
        found = [places[where] for places in self._places.values() if where in places]
        return max(found, default=None)

    def known(self, where: TopicPartition, target: TopicPartition, target_start: int) -> KnownOffsets | None:
        """Return what is recorded about a partition, for translating; None if there is nothing.

        Raises:
            CorruptRecords: Its map is damaged.
        """
        end = self.place(where)
        if end is None:
            return None
        record = state.get_mirror(self._log.records, self._uid, target.topic)
        if record is None or where.partition not in record.maps:
            return KnownOffsets(None, mapped=False, end=end, source_start=0, target_start=target_start)
        recorded = record.maps[where.partition]
        offsets = recorded_map(self._log.records, self._uid, target, recorded)
        if recorded.mapped and end.target == offsets.end.target and end.source > offsets.end.source:
            # Only holes follow: anything copied after the last recorded run would be further on on the target.
            offsets.pass_over(end)
        return KnownOffsets(offsets, recorded.mapped, end, 0, target_start)
