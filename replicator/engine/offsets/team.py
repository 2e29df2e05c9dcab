"""Translates offsets for a whole flow: the daemon that copies a partition answers for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from replicator.engine.offsets import translate
from replicator.errors import ReplicatorError
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import Translation, TranslationState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicator.engine.copy.copier import Copier
    from replicator.engine.topics.mirror import Mirror
    from replicator.model.operations.translation import OffsetQuestion
    from replicator.rpc.client.peers import FlowReference, Peers


class TranslatingTeam:
    """This daemon and the others of a flow.

    Args:
        flow: The flow, as named in requests to others.
        pump: What this daemon copies.
        mirrors: The mirrors by source topic.
        peers: The connections to the other daemons.
        address: Returns the address of another daemon.
        reverse: Whether the questions are target offsets.
    """

    def __init__(
        self,
        flow: FlowReference,
        pump: Copier,
        mirrors: Mapping[str, Mirror],
        peers: Peers,
        address: Callable[[str], str],
        *,
        reverse: bool,
    ) -> None:
        self._flow = flow
        self._pump = pump
        self._mirrors = mirrors
        self._peers = peers
        self._address = address
        self._reverse = reverse
        self._sources = {(mirror.target_topic if reverse else mirror.topic): mirror for mirror in mirrors.values()}

    async def answers(self, questions: Sequence[OffsetQuestion]) -> list[Translation]:
        """Return the translation of each question, in their order.

        Raises:
            UsageError: The flow has no such topic or partition, or an offset is below 0.
            CorruptRecords: A map is damaged.
        """
        by_holder: dict[str | None, list[int]] = defaultdict(list)
        for at, question in enumerate(questions):
            by_holder[self._holder(question)].append(at)
        out: dict[int, Translation] = {}
        for places, found in await asyncio.gather(
            *(self._asked(holder, places, questions) for holder, places in by_holder.items())
        ):
            out.update(zip(places, found, strict=True))
        return [out[at] for at in range(len(questions))]

    def _holder(self, question: OffsetQuestion) -> str | None:
        """Return the other daemon that copies a partition; None if it is this one, or nobody."""
        mirror = self._sources.get(question.topic)
        if mirror is None:
            return None
        where = TopicPartition(mirror.topic, question.partition)
        shards = self._pump.shards
        return None if shards.works_on(where) else shards.holder(shards.of(where))

    async def _asked(
        self, holder: str | None, places: list[int], questions: Sequence[OffsetQuestion]
    ) -> tuple[list[int], Sequence[Translation]]:
        mine = [questions[at] for at in places]
        if holder is None:
            return places, await translate.answers(self._pump, self._mirrors, mine, reverse=self._reverse)
        try:
            return places, await self._peers.translate(self._address(holder), self._flow, mine, reverse=self._reverse)
        except ReplicatorError as error:
            why = f"daemon {holder} copies it, but does not answer: {error}"
            return places, [self._unknown(question, why) for question in mine]

    def _unknown(self, question: OffsetQuestion, why: str) -> Translation:
        mirror = self._sources[question.topic]
        source, target = (None, question.offset) if self._reverse else (question.offset, None)
        return Translation(
            mirror.topic,
            mirror.target_topic,
            question.partition,
            source,
            target,
            TranslationState.NOT_ATTACHED,
            None,
            why,
        )
