"""Identifies the writers of a log's records by the producer ids of its batches (`loop_guard: origin`).

Every flow writes to its target under one producer id, which is registered in the target's `replicator.state` before the
first batch is sent. So on the cluster that a flow reads, the records of all other flows can be told from those of
applications: they came from elsewhere, and are not copied on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.engine.state import records as state
from replicator.errors import DamagedRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from replicator.engine.state.topic.source import SourceState

_STRANGERS_MAX = 100_000
"""How many producer ids known not to be flows' are kept, 6 MB. An application gets a new id at each start."""


class Origins:
    """The producers of a source cluster: the flows that write there, and all others.

    Args:
        there: What is recorded on the cluster.

    Attributes:
        flows: Producer ids of flows; it only grows.
    """

    def __init__(self, there: SourceState) -> None:
        self.flows: set[int] = set()
        self._there = there
        self._strangers: set[int] = set()
        self._reading = asyncio.Lock()

    def unknown(self, producer_ids: Iterable[int]) -> frozenset[int]:
        """Return the ids whose owner has yet to be found out; -1 stands for a producer without an id."""
        return frozenset(
            each for each in producer_ids if each >= 0 and each not in self.flows and each not in self._strangers
        )

    async def learn(self, producer_ids: Collection[int]) -> None:
        """Find out who owns producer ids that were seen in a log of the source.

        The order matters: a flow's id is registered before it is first used to write. So whoever has seen a batch and
        then reads the state topic to its end finds the id there, or the id is no flow's and never will be: a cluster
        hands out each id once.

        Raises:
            KafkaError: The state topic of the source cannot be read, or was deleted; the owners stay unknown.
        """
        async with self._reading:
            unknown = self.unknown(producer_ids)
            if not unknown:
                return
            try:
                self.flows |= state.producer_ids(await self._there.read())
            except DamagedRecord as error:
                raise self._there.damaged(error) from error
            if len(self._strangers) + len(unknown) > _STRANGERS_MAX:
                self._strangers.clear()
            self._strangers |= unknown - self.flows

    async def leaves_out(self, producer_id: int) -> bool:
        """See `Chooser`."""
        if self.unknown((producer_id,)):
            await self.learn((producer_id,))
        return producer_id in self.flows
