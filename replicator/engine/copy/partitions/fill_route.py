"""How markers reach the target: in bulk if the flow has the right to, otherwise by empty transactions, one at a time.

The bulk route is WriteTxnMarkers (ClusterAction on the cluster). The other route needs no rights that the flow does not
have anyway: a transaction that enlists partitions and writes nothing ends with one marker in each of them.

If a holder dies and leaves a transaction open, its coordinator ends it some time later, with a marker. So before its
first fill, a holder ends any such transaction, and every place that was read before then is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from replicator.engine.state.ownership.shown_markers import Shown, not_shown, prove_fills
from replicator.errors import Conflict, MarkersNotShown, ReplicatorError
from replicator.model.spec import Isolation
from replicator.obs.logs import get_logger
from replicator.wire.messages.control import LATEST, OffsetResult, list_offsets
from replicator.wire.messages.data.markers import WRITE_TXN_MARKERS, write_markers
from replicator.wire.messages.data.transactions import Transaction, init_producer_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.model.names import TopicPartition
    from replicator.wire.cluster import Cluster
    from replicator.wire.messages.data.transactions import ProducerIdentity
    from replicator.wire.transport.connection import Connection

_BULK_MARKERS_MAX = 5_000
"""Per partition and request."""
_BULK_AGAIN_SECONDS = 600.0
_CLUSTER_AUTHORIZATION_FAILED = 31
_EPOCHS = 1 << 15
_LANDED_SECONDS_MAX = 10.0
_POLL_SECONDS = 0.01
_NOT_LANDED = -1
_PROVE_AGAIN_SECONDS = 600.0

log = get_logger(__name__)


class FillRoute:
    """The route that markers of one flow take, on one shard.

    Args:
        cluster: The target.
        transactional_id: The transactional id of the transactions that write markers.
        producer_id: The producer id of markers written in bulk.
        now: Monotonic time.

    Attributes:
        prepared_at: Monotonic time since which no open transaction of an earlier holder can write a marker.
    """

    def __init__(self, cluster: Cluster, transactional_id: str, producer_id: int, now: Callable[[], float]) -> None:
        self.prepared_at = 0.0
        self._cluster = cluster
        self._id = transactional_id
        self._producer_id = producer_id
        self._now = now
        self._prepared_for = 0
        self._one_transaction = asyncio.Lock()
        self._slow_until = 0.0
        self._proven = False
        self._not_shown: MarkersNotShown | None = None
        self._prove_again_at = 0.0

    def is_slow(self, claim_number: int) -> bool:
        """Return whether markers are written by transactions now; a round asks once and keeps to the answer."""
        # A bulk marker carries the claim's number as its producer epoch, which has 15 bits.
        return self._now() < self._slow_until or claim_number >= _EPOCHS

    def length_max(self, *, slow: bool) -> int:
        """Return how many markers for one partition a request can carry."""
        return 1 if slow else _BULK_MARKERS_MAX

    def turn(self, *, slow: bool) -> contextlib.AbstractAsyncContextManager[object]:
        """Return the context that must be entered before a round is chosen and written.

        There is one transaction at a time, because each starts by ending the one before it, whichever broker's
        partitions that one enlisted.
        """
        return self._one_transaction if slow else contextlib.nullcontext()

    async def prepare(self, claim_number: int) -> None:
        """End the transaction that an earlier holder of the claim, or a lost response, may have left open.

        Call it once the claim is effective.

        Raises:
            MarkersNotShown: The target's logs do not show markers: nothing may be filled.
            KafkaError: The target refuses.
            Conflict: Another daemon has taken over the transactional id.
        """
        async with self._one_transaction:
            if self._prepared_for == claim_number:
                return
            identity = await init_producer_id(self._cluster, self._id)
            await self._prove(identity)
            self._prepared_for = claim_number
            self.prepared_at = self._now()

    async def _prove(self, identity: ProducerIdentity) -> None:
        """Prove once, before the first fill, that the target's logs show markers; on the state topic, not a mirror."""
        if self._not_shown is not None and self._now() < self._prove_again_at:
            raise self._not_shown
        if self._proven:
            return
        try:
            shown = await prove_fills(self._cluster, self._id, identity)
        except MarkersNotShown as error:
            self._not_shown, self._prove_again_at = error, self._now() + _PROVE_AGAIN_SECONDS
            raise
        self._proven = True
        if shown is Shown.NO:
            log.warning(
                "this target cannot be fenced: no switch of the flow will begin",
                cluster=self._cluster.spec.alias,
                why=not_shown(self._cluster.spec.alias),
                next="ask its operator to report what Apache Kafka brokers report; the copy itself is not affected",
            )

    async def in_bulk(
        self, connection: Connection, lengths: Mapping[TopicPartition, int], claim_number: int
    ) -> dict[TopicPartition, int]:
        """Append markers; return error codes. 0 does not prove that all were appended; only the log end shows that.

        Raises:
            KafkaError: Any number of them may have been appended.
        """
        if connection.versions.offers(WRITE_TXN_MARKERS, 1):
            codes = await write_markers(connection, self._producer_id, claim_number, lengths)
            seconds = _BULK_AGAIN_SECONDS
        else:
            codes, seconds = dict.fromkeys(lengths, _CLUSTER_AUTHORIZATION_FAILED), float("inf")
        if _CLUSTER_AUTHORIZATION_FAILED in codes.values():
            # Refused before anything was appended: the partitions are retried by the other route.
            log.info("fills go by transactions", cluster=self._cluster.spec.alias, why="no right to WriteTxnMarkers")
            self._slow_until = self._now() + seconds
        return codes

    async def by_transaction(
        self, connection: Connection, lengths: Mapping[TopicPartition, int], is_ours: Callable[[], bool]
    ) -> dict[TopicPartition, int]:
        """Append one marker to each partition, within `turn`; return error codes as `in_bulk` does.

        Raises:
            KafkaError: Any of them may have been appended, or may still be.
            TimedOut: The same; the coordinator did not answer in time.
            Conflict: The same; the claim, or the transaction, was taken over.
        """
        before = await list_offsets(connection, lengths, LATEST, isolation=Isolation.READ_UNCOMMITTED)
        try:
            identity = await init_producer_id(self._cluster, self._id)
            # A newer holder's `prepare` that comes after this point fences the transaction. One that came before it
            # does not, so we check here whether the claim is still ours.
            if not is_ours():
                raise Conflict("the claim was lost before the markers were written")
            transaction = Transaction(self._cluster, self._id, identity)
            await transaction.add(*lengths)
            await transaction.end(commit=False)
        except ReplicatorError:
            self._prepared_for = 0
            raise
        return await self._landed(connection, lengths, before)

    async def _landed(
        self,
        connection: Connection,
        lengths: Mapping[TopicPartition, int],
        before: Mapping[TopicPartition, OffsetResult],
    ) -> dict[TopicPartition, int]:
        """Wait for the markers: the coordinator responds before they are in the logs."""
        waiting = set(lengths)
        codes = dict.fromkeys(lengths, _NOT_LANDED)
        deadline = self._now() + _LANDED_SECONDS_MAX
        while waiting and self._now() < deadline:
            ends = await list_offsets(connection, waiting, LATEST, isolation=Isolation.READ_UNCOMMITTED)
            for where in list(waiting):
                end, began = ends.get(where), before.get(where)
                if end is None or began is None or end.error or began.error:
                    waiting.discard(where)
                elif end.value > began.value:
                    waiting.discard(where)
                    codes[where] = 0
            if waiting:
                await asyncio.sleep(_POLL_SECONDS)
        if any(codes.values()):
            self._prepared_for = 0
        return codes
