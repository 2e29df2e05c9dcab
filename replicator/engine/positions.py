"""What following groups has to know of a flow's copying: where offsets stand, and whether ends were passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from replicator.engine import translate
from replicator.model.names import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from replicator.engine.pump import Pump
    from replicator.engine.topic_sync import TopicSync
    from replicator.model.translation import OffsetQuestion, Translation


class MirrorName(NamedTuple):
    """How a mirror is called on the target, and how many partitions it copies."""

    target_topic: str
    partitions: int


class Positions(Protocol):
    """Where the copying of one flow stands."""

    def mirrors(self) -> Mapping[str, MirrorName]:
        """Return the mirrors, by their topics on the source."""
        ...

    def wanted(self) -> Iterable[TopicPartition]:
        """Return every partition of the source that the flow means, copied or not, as it was described last."""
        ...

    def behind(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """Return the partitions that are not copied up to their source offset yet, each with how far it is."""
        ...

    async def translate(self, questions: Sequence[OffsetQuestion]) -> Sequence[Translation]:
        """Return where source offsets stand on the target, one answer per question (`engine.translate`).

        Raises:
            UsageError: The flow has no such topic or partition.
            CorruptRecords: A map is damaged.
        """
        ...


class PumpPositions:
    """`Positions` of a daemon that copies all partitions of its flow itself."""

    def __init__(self, pump: Pump, sync: TopicSync) -> None:
        self._pump = pump
        self._sync = sync

    def mirrors(self) -> Mapping[str, MirrorName]:
        """See `Positions.mirrors`."""
        return {
            topic: MirrorName(mirror.target_topic, mirror.partitions) for topic, mirror in self._sync.mirrors.items()
        }

    def wanted(self) -> Iterable[TopicPartition]:
        """See `Positions.wanted`."""
        topics = self._pump.source.cluster.topics
        return [TopicPartition(name, number) for name in self._sync.selected() for number in topics[name].leaders]

    def behind(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """See `Positions.behind`."""
        slots = self._pump.slots
        found: dict[TopicPartition, str] = {}
        for where, end in ends.items():
            slot = slots.get(where)
            if slot is None or not slot.copy.episode:
                found[where] = self._why_not_copied(where)
            elif slot.copy.acked_offset < end:
                copy = slot.copy
                why = f" ({copy.reason})" if copy.reason is not None else ""
                found[where] = f"copied up to {copy.acked_offset} of {end}{why}"
        return found

    def _why_not_copied(self, where: TopicPartition) -> str:
        mirror = self._sync.mirrors.get(where.topic)
        if mirror is not None and mirror.fault is not None:
            return f"not copied: {mirror.fault.text}"
        return "not copied yet"

    async def translate(self, questions: Sequence[OffsetQuestion]) -> Sequence[Translation]:
        """See `Positions.translate`."""
        return await translate.answers(self._pump, self._sync.mirrors, questions, reverse=False)
