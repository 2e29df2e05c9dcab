"""Finds where commits go on the target: under which names, and at which offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.groups.sync import TranslatedCommit
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import OffsetQuestion, TranslationState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.engine.groups.positions import MirrorName, Positions
    from replicator.model.status.groups import Committed


class MirrorNames:
    """The names of a flow's mirrors on both sides, as of one moment."""

    def __init__(self, mirrors: Mapping[str, MirrorName]) -> None:
        self._to_target = {topic: mirror.target_topic for topic, mirror in mirrors.items()}
        self._to_source = {target: topic for topic, target in self._to_target.items()}

    def partitions(
        self, commits: Iterable[TopicPartition], written: Iterable[TopicPartition]
    ) -> dict[TopicPartition, TopicPartition]:
        """Return the mirrored partitions of a group: source partition -> its name on the target.

        Args:
            commits: Its commits on the source.
            written: The partitions that were written for it on the target.
        """
        found = {
            where: TopicPartition(self._to_target[where.topic], where.partition)
            for where in commits
            if where.topic in self._to_target
        }
        for where in written:
            topic = self._to_source.get(where.topic)
            if topic is not None:
                found.setdefault(TopicPartition(topic, where.partition), where)
        return found


TranslatedCommits = dict[tuple[TopicPartition, int], TranslatedCommit]


async def translate_commits(
    positions: Positions,
    mirrors: Mapping[str, MirrorName],
    commits: Mapping[str, Mapping[TopicPartition, Committed]],
) -> TranslatedCommits:
    """Translate each offset that any group has committed for these topics; each is asked for once.

    Raises:
        CorruptRecords: A map is damaged.
    """
    wanted: dict[tuple[TopicPartition, int], None] = {}
    turns = Turns()
    for group in commits.values():
        wanted |= {
            (where, one.offset): None for where, one in group.items() if where.topic in mirrors and one.offset >= 0
        }
        await turns.give()
    asked = [at for at in wanted if at[0].partition < mirrors[at[0].topic].partitions]
    translated = await _ask(positions, asked)
    # For an offset beyond what is copied: the translation of the replicated end, the last offset that has one.
    beyond = {at: (at[0], at[1] - one.beyond) for at, one in translated.items() if one.beyond}
    ends = await _ask(positions, dict.fromkeys(beyond.values()))
    for at, end in beyond.items():
        translated[at] = translated[at]._replace(end_offset=ends[end].offset)
    none_yet = TranslatedCommit(TranslationState.NOT_ATTACHED, None, detail="the flow does not copy this partition yet")
    return {at: translated.get(at, none_yet) for at in wanted}


async def _ask(positions: Positions, asked: Iterable[tuple[TopicPartition, int]]) -> TranslatedCommits:
    questions = [OffsetQuestion(*where, offset) for where, offset in asked]
    if not questions:
        return {}
    found: TranslatedCommits = {}
    answers = await positions.translate(questions)
    turns = Turns()
    for question, answer in zip(questions, answers, strict=True):
        found[TopicPartition(question.topic, question.partition), question.offset] = TranslatedCommit(
            answer.state,
            answer.target_offset,
            beyond=answer.behind_records or 0,
            detail=answer.state.value if answer.detail is None else f"{answer.state.value}: {answer.detail}",
        )
        await turns.give()
    return found
