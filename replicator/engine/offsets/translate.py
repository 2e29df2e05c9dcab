"""Answers questions about offsets from what the flow's partitions know now (`core.offsets.translation` decides).

Only the log starts are read again: they move with retention, and a writer is not notified that the target's moved.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.copy.values import Phase
from replicator.core.offsets.offset_map import OffsetPair
from replicator.core.offsets.translation import KnownOffsets, translate
from replicator.engine.logs.bounds import starts_of
from replicator.errors import UsageError
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import OffsetQuestion, Translation, TranslationState
from replicator.model.status.states import Reason
from replicator.model.text import command
from replicator.obs.logs import get_logger
from replicator.wire.messages.groups import committed_offsets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from replicator.engine.copy.copier import Copier
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.topics.mirror import Mirror

_START_SECONDS = 2.0
_ANSWERS_PER_TURN = 10
"""Each may have to unpack a segment of the map, 5 ms; copying continues in between."""
OTHER_LOG = frozenset(
    {
        Reason.SOURCE_TRUNCATED,
        Reason.SOURCE_RECREATED,
        Reason.TARGET_RECREATED,
        Reason.TARGET_MISSING,
        Reason.CONTENT_MISMATCH,
    }
)
"""Faults after which an offset no longer means what it meant when it was copied."""

log = get_logger(__name__)


async def answers(
    pump: Copier, mirrors: Mapping[str, Mirror], questions: Sequence[OffsetQuestion], *, reverse: bool
) -> list[Translation]:
    """Return the translation of each question, in their order.

    Raises:
        UsageError: The flow has no such topic or partition, or an offset is below 0.
        CorruptRecords: A map is damaged.
    """
    by_name = _by_name(mirrors, reverse=reverse)
    for question in questions:
        _check(by_name, question, reverse=reverse)
    return await _answers(pump, by_name, questions, reverse=reverse)


async def group_questions(
    pump: Copier, mirrors: Mapping[str, Mirror], group: str, *, reverse: bool
) -> list[OffsetQuestion]:
    """Return every offset that a group committed on one side for the flow's topics, in order.

    Raises:
        UsageError: The group committed none for them.
        KafkaError: Its offsets cannot be read.
    """
    side = pump.target if reverse else pump.source
    by_name = _by_name(mirrors, reverse=reverse)
    committed = await committed_offsets(side.cluster, group)
    questions = [
        OffsetQuestion(where.topic, where.partition, offset)
        for where, offset in sorted(committed.items())
        if where.topic in by_name
    ]
    if not questions:
        alias = side.cluster.spec.alias
        raise UsageError(
            f"group {group!r} has committed no offset for this flow's topics on {alias}",
            why=f"it has committed {len(committed)} for other topics" if committed else "it has committed none at all",
            next_step=command("kafka-consumer-groups.sh", "--describe", "--group", group)
            + f" shows what {alias} knows of it",
        )
    return questions


def questioned(mirrors: Mapping[str, Mirror], topic: str, partition: int | None) -> tuple[Mirror, list[int]]:
    """Return the mirror of the source topic in question, and the partitions meant.

    Raises:
        UsageError: The flow has no such topic or partition, or does not know the topic's partitions yet.
    """
    by_name = _by_name(mirrors, reverse=False)
    _check(by_name, OffsetQuestion(topic, partition or 0, 0), reverse=False)
    mirror = by_name[topic]
    if partition is None and not mirror.partitions:
        raise UsageError(
            f"it is not known how many partitions of {topic!r} are copied",
            why=mirror.fault.text if mirror.fault is not None else "the flow has not looked at it yet",
            next_step="replicator mirror list",
        )
    return mirror, list(range(mirror.partitions)) if partition is None else [partition]


def _by_name(mirrors: Mapping[str, Mirror], *, reverse: bool) -> dict[str, Mirror]:
    return {mirror.target_topic if reverse else mirror.topic: mirror for mirror in mirrors.values()}


def _check(by_name: Mapping[str, Mirror], question: OffsetQuestion, *, reverse: bool) -> None:
    topic, mirror = question.topic, by_name.get(question.topic)
    if mirror is None:
        verb = "writes to" if reverse else "mirrors"
        raise UsageError(
            f"this flow {verb} no topic named {topic!r}", next_step="`replicator mirror list` shows them all"
        )
    if mirror.partitions and not 0 <= question.partition < mirror.partitions:
        raise UsageError(
            f"topic {topic!r} has no partition {question.partition}",
            why=f"it has {mirror.partitions}, counted from 0",
        )
    if question.offset < 0:
        raise UsageError(f"{question.offset} is no offset", why="the first record of a log has offset 0")


async def _answers(
    pump: Copier, by_name: Mapping[str, Mirror], questions: Sequence[OffsetQuestion], *, reverse: bool
) -> list[Translation]:
    asked = [_Asked(by_name[question.topic], pump, question, reverse) for question in questions]
    slots = {each.slot for each in asked if each.slot is not None and each.slot.copy.episode}
    unseen = await _refresh_starts(pump, slots, source=reverse)
    out: dict[int, Translation] = {}
    # In the order of offsets, so that each block of a map is unpacked once.
    order = sorted(range(len(questions)), key=lambda at: _sorted_by(questions[at]))
    for turn, at in enumerate(order, 1):
        out[at] = asked[at].answer(unseen)
        if turn % _ANSWERS_PER_TURN == 0:
            await asyncio.sleep(0)
    return [out[at] for at in range(len(questions))]


def _sorted_by(question: OffsetQuestion) -> tuple[str, int, int]:
    return question.topic, question.partition, question.offset


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question, and the mirror it is about."""

    mirror: Mirror
    pump: Copier
    question: OffsetQuestion
    reverse: bool

    @property
    def slot(self) -> PartitionView | None:
        return self.pump.partitions.get(TopicPartition(self.mirror.topic, self.question.partition))

    def answer(self, unseen: Mapping[PartitionView, str]) -> Translation:
        """Return the translation; `unseen` says whose log start could not be read, and why."""
        slot = self.slot
        if slot is None or not slot.copy.episode:
            return self._none(TranslationState.NOT_ATTACHED, _why_not_attached(self.mirror, slot))
        copy, offset = slot.copy, self.question.offset
        if copy.phase is Phase.FAULTED and copy.reason in OTHER_LOG:
            return self._none(TranslationState.FAULTED, f"{copy.reason}: {copy.detail}")
        known = _known(slot)
        found = translate(known, offset, reverse=self.reverse)
        if found.offset is not None:
            return self._made(found.state, found.offset, detail=unseen.get(slot))
        if found.behind is None:
            return self._none(found.state, "nothing is known of offsets below the start of its offset map")
        return self._made(found.state, None, found.behind, _why_behind(slot, known, found.behind, reverse=self.reverse))

    def _none(self, state: TranslationState, detail: str) -> Translation:
        return self._made(state, None, detail=detail)

    def _made(
        self, state: TranslationState, found: int | None, behind: int | None = None, detail: str | None = None
    ) -> Translation:
        asked = self.question.offset
        source, target = (found, asked) if self.reverse else (asked, found)
        mirror = self.mirror
        return Translation(
            mirror.topic, mirror.target_topic, self.question.partition, source, target, state, behind, detail
        )


def copied_place(slot: PartitionView) -> OffsetPair | None:
    """Return the last place proven to be copied; None if the logs were not compared, or were replaced since."""
    copy = slot.copy
    if not copy.episode or (copy.phase is Phase.FAULTED and copy.reason in OTHER_LOG):
        return None
    return _end(slot)


def _end(slot: PartitionView) -> OffsetPair:
    copy = slot.copy
    return OffsetPair(copy.acked_offset, copy.acked_offset) if copy.track is None else copy.track.acked


def _known(slot: PartitionView) -> KnownOffsets:
    track = slot.copy.track
    return KnownOffsets(
        track.offsets if track is not None else None,
        track is not None and track.mapped,
        _end(slot),
        slot.seen.source_start or 0,
        slot.seen.target_start or 0,
    )


def _why_not_attached(mirror: Mirror, slot: PartitionView | None) -> str:
    if slot is None:
        why = mirror.fault.text if mirror.fault is not None else "the flow does not copy this partition yet"
    elif slot.copy.phase is Phase.PAUSED:
        why = "the flow has been paused since then; `replicator flow resume` lets it compare them"
    else:
        why = slot.copy.detail or slot.copy.phase.value
    return f"its logs have not been compared since the daemon started: {why}"


def _why_behind(slot: PartitionView, known: KnownOffsets, behind: int, *, reverse: bool) -> str:
    end, copy, seen = known.proven_end, slot.copy, slot.lag.observed_end
    if reverse:
        return f"the target is known to end at {end.target}"
    text = f"{behind:,} records behind: copied up to {end.source}"
    if seen is not None and end.source + behind > seen:
        text += f", and the source ended at {seen} when it was last seen"
    if copy.reason is Reason.FENCED:
        text += "; a switch fenced it: what lies beyond is copied in the other direction"
    elif copy.phase in {Phase.PAUSED, Phase.FAULTED}:
        text += f"; the partition is {copy.phase.name}" + (f" ({copy.reason})" if copy.reason else "")
    return text


# -- log starts -----------------------------------------------------------------------------------------------------


async def _refresh_starts(pump: Copier, slots: Iterable[PartitionView], *, source: bool) -> dict[PartitionView, str]:
    """Read the current log starts of one side; return the partitions where that failed, each with a text about it."""
    wanted = {slot.source if source else slot.target: slot for slot in slots}
    starts, unseen = await starts_of(pump.source if source else pump.target, wanted, timeout_seconds=_START_SECONDS)
    for where, start in starts.items():
        pump.sightings.note_starts(wanted[where], *((start, None) if source else (None, start)))
    return {wanted[where]: _unseen(wanted[where], why, source=source) for where, why in unseen.items()}


def _unseen(slot: PartitionView, why: str, *, source: bool) -> str:
    name, start = ("source", slot.seen.source_start) if source else ("target", slot.seen.target_start)
    return f"the {name}'s log started at {start or 0} when it was last seen; now it cannot be asked: {why}"
