"""What of one partition is queued for the target, and what is on its way there.

A batch is *guarded* while the target's leader surely remembers the sequence before it: then a repeat is recognised.
What is not guarded is sent alone, and only under the claim.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from replicator.core.copy.pieces import Fill
from replicator.core.copy.values import IN_FLIGHT_BATCHES_MAX, Batch
from replicator.errors import BugError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replicator.core.copy.values import TargetLimits


class Sending:
    """The way of one partition to the target: in order, five batches at a time at most.

    Args:
        limits: What the target accepts.

    Attributes:
        limits: What the target accepts, as last told.
        queued_bytes: Bytes accepted and not sent.
        outstanding: Requests sent and not answered, of any episode.
        waits_for_claim: Whether only the lack of a claim keeps a batch back.
    """

    __slots__ = (
        "_alone",
        "_in_flight",
        "_queue",
        "_state_time_ms",
        "limits",
        "outstanding",
        "queued_bytes",
        "waits_for_claim",
    )

    def __init__(self, limits: TargetLimits) -> None:
        self.limits = limits
        self.queued_bytes = 0
        self.outstanding = 0
        self.waits_for_claim = False
        self._queue: deque[Batch | Fill] = deque()
        self._in_flight: deque[Batch] = deque()
        self._state_time_ms: int | None = None
        self._alone = False

    # -- episodes -------------------------------------------------------------------------------------------------

    def begin(self, state_time_ms: int | None) -> None:
        """Begin an episode; `state_time_ms` is the time of the batch that the target's producer state comes from.

        Raises:
            BugError: Something of the episode before is on its way.
        """
        if self._in_flight or self.outstanding:
            raise BugError(f"attached with {self.outstanding} answers outstanding")
        self._alone = False
        self._state_time_ms = state_time_ms

    def drop(self) -> list[Batch]:
        """Empty the queue; return the batches that will not be sent."""
        dropped = [item for item in self._queue if isinstance(item, Batch)]
        self._queue.clear()
        self.queued_bytes = 0
        self.waits_for_claim = False
        return dropped

    def forget_sent(self) -> None:
        """What is on its way belongs to an episode that is over: its answers say nothing more."""
        self._in_flight.clear()

    # -- in -------------------------------------------------------------------------------------------------------

    def queue(self, batches: Sequence[Batch]) -> None:
        """Queue rewritten batches for sending."""
        self._queue.extend(batches)
        for batch in batches:
            self.queued_bytes += batch[3]

    def queue_fill(self, fill: Fill) -> None:
        """Queue offsets without a record, to be filled with markers."""
        self._queue.append(fill)

    # -- out ------------------------------------------------------------------------------------------------------

    def next_to_send(self, now_ms: int, *, claimed: bool) -> Batch | None:
        """Return the next batch if it may be sent now, and count it as in flight.

        Args:
            now_ms: Wall clock, to compare with record times.
            claimed: Whether this daemon holds the claim and its doubt time is over: needed for unguarded work.
        """
        queue = self._queue
        if not queue or self._alone or len(self._in_flight) >= IN_FLIGHT_BATCHES_MAX:
            return None
        batch = queue[0]
        if isinstance(batch, Fill):
            return None
        oldest = now_ms - self.limits.guard_ms
        state = self._state_time_ms
        # The usual case first: a fresh batch behind fresh state (see `_is_guarded`).
        if (batch[2] <= oldest or state is None or state <= oldest) and not self._is_guarded(batch, now_ms):
            if self._in_flight:
                return None
            if not claimed:
                self.waits_for_claim = True
                return None
            self._alone = True
        self.waits_for_claim = False
        queue.popleft()
        self.queued_bytes -= batch[3]
        self._in_flight.append(batch)
        self.outstanding += 1
        return batch

    def _is_guarded(self, batch: Batch, now_ms: int) -> bool:
        """Return whether the broker surely remembers our sequence when this batch, or its repeat, arrives.

        The state must exist now, and live on whatever the batch's own record time does to it (KAFKA_FACTS K6).
        At the start of a log there is nothing to double: the first batch makes the state. Where others write, a log
        that looked empty may not be any more.
        """
        oldest = now_ms - self.limits.guard_ms
        if batch.max_timestamp <= oldest:
            return False
        state = self._state_time_ms
        if state is None:
            return batch.base_offset == 0 and not self.limits.others_write
        return state > oldest

    def guard_is_on(self, now_ms: int) -> bool:
        """Return whether the target surely remembers our last sequence now."""
        return self._state_time_ms is not None and self._state_time_ms > now_ms - self.limits.guard_ms

    def held(self) -> Iterator[Batch]:
        """Return the batches that are on their way to the target, or wait to be sent."""
        yield from self._in_flight
        yield from (item for item in self._queue if isinstance(item, Batch))

    @property
    def head_bytes(self) -> int:
        """Size of the batch that is sent next; 0 for none."""
        head = self._queue[0] if self._queue else None
        return head.size if isinstance(head, Batch) else 0

    @property
    def head_fill(self) -> Fill | None:
        """What is left of the fill at the head of the queue, also while the first of it is on its way."""
        head = self._queue[0] if self._queue else None
        return head if isinstance(head, Fill) else None

    @property
    def drained(self) -> bool:
        """Whether nothing is queued."""
        return not self._queue

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, in flight or outstanding."""
        return not self._queue and not self.outstanding

    # -- answers --------------------------------------------------------------------------------------------------

    @property
    def waits_for_answers(self) -> bool:
        """Whether batches of this episode are on their way."""
        return bool(self._in_flight)

    def answered(self) -> None:
        """Count one answer, or that none will come.

        Raises:
            BugError: Nothing was asked.
        """
        self.outstanding -= 1
        if self.outstanding < 0:
            raise BugError("more answers than requests")

    def check_order(self, batch: Batch) -> None:
        """Make sure that an answer is the one to the oldest batch on its way.

        Raises:
            BugError: It is not.
        """
        if not self._in_flight or self._in_flight[0] is not batch:
            raise BugError("answers out of order")

    def landed(self, batch: Batch) -> None:
        """The oldest batch on its way is in the target's log.

        The broker ages its producer state by its latest batch, not by its newest record (KAFKA_FACTS K6).
        """
        self._in_flight.popleft()
        self._alone = False
        self._state_time_ms = batch[2]

    def lands(self, batch: Batch) -> bool:
        """Take the usual answer in one step; False, and nothing taken, where it is not to the oldest batch."""
        in_flight = self._in_flight
        if in_flight[0] is not batch:
            return False
        self.outstanding -= 1
        in_flight.popleft()
        self._alone = False
        self._state_time_ms = batch[2]
        return True

    def filled(self, fill: Fill) -> None:
        """Take a fill, or its first offsets, off the queue.

        Raises:
            BugError: Another one is due.
        """
        head = self._queue[0]
        if not isinstance(head, Fill) or head.first_offset != fill.first_offset:
            raise BugError("another fill was answered than is due")
        self._queue.popleft()
        if head.length > fill.length:
            self._queue.appendleft(Fill(fill.first_offset + fill.length, head.length - fill.length))
