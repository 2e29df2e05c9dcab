"""Finds the target offset for a moment on the source, through the source's own time index.

The target's own index cannot tell: markers carry the time at which they were written, not the time of the offsets they
fill, and a lookup there would find the markers first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.engine.logs.bounds import at_time, ends_of
from replicator.engine.offsets.translate import questioned
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import OffsetQuestion, TimeQuestion, Translation, TranslationState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.engine.copy.copier import Copier
    from replicator.engine.offsets.team import TranslatingTeam
    from replicator.engine.topics.mirror import Mirror

_ASK_SECONDS = 5.0


async def answers(
    question: TimeQuestion, pump: Copier, mirrors: Mapping[str, Mirror], team: TranslatingTeam
) -> list[Translation]:
    """Return, for each partition in question, where on the target the first record at or after a moment is.

    That is the first in the order of offsets, as ListOffsets (KIP-79) finds it. If there is none, it is the source's
    end: whatever is written at or after that moment comes after it.

    Args:
        question: Topic, moment and partition; None for all partitions.
        pump: What this daemon copies.
        mirrors: By source topic.
        team: Translates the offsets.

    Raises:
        UsageError: The flow has no such topic or partition.
        CorruptRecords: A map is damaged.
    """
    mirror, partitions = questioned(mirrors, question.topic, question.partition)
    wanted = [TopicPartition(question.topic, number) for number in partitions]
    source, isolation = pump.source.cluster, pump.context.isolation
    # The ends are read first: a record that is not found below an end read earlier can only have come after it.
    ends, unseen = await ends_of(source, wanted, isolation=isolation, timeout_seconds=_ASK_SECONDS)
    found, silent = await at_time(
        source, list(ends), question.time_ms, isolation=isolation, timeout_seconds=_ASK_SECONDS
    )
    offsets = {where: offset if offset >= 0 else ends[where] for where, offset in found.items()}
    asked = [OffsetQuestion(where.topic, where.partition, offset) for where, offset in sorted(offsets.items())]
    translations = {one.partition: one for one in await team.answers(asked)}
    for where, why in (unseen | silent).items():
        detail = f"{source.spec.alias} cannot be asked now: {why}"
        translations[where.partition] = Translation(
            mirror.topic, mirror.target_topic, where.partition, None, None, TranslationState.SOURCE_UNSEEN, None, detail
        )
    for where, offset in found.items():
        if offset < 0:
            translations[where.partition] = _at_the_end(translations[where.partition], source.spec.alias)
    return [translations[number] for number in partitions]


def _at_the_end(answer: Translation, source: str) -> Translation:
    text = f"no record on {source} is from then or later: this is its end now"
    return replace(answer, detail=f"{text}; {answer.detail}" if answer.detail else text)
