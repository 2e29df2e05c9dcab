"""One partition's way to the target: what is queued, and what is in flight.

A batch is *guarded* while the target's leader surely remembers the sequence before it: then the broker recognises a
repeat. An unguarded batch is sent alone, and only under the claim.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from replicator.core.copy.reading.pieces import Fill
from replicator.core.copy.values import IN_FLIGHT_BATCHES_MAX, Batch
from replicator.errors import BugError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replicator.core.copy.values import TargetLimits


class Sending:
    """Sends one partition to the target: in order, at most five batches at a time.

    Args:
        limits: What the target accepts.

    Attributes:
        limits: What the target accepts, as far as known.
        queued_bytes: Bytes accepted and not sent.
        outstanding: Requests sent and not answered, of any episode.
        waits_for_claim: Whether only the missing claim holds a batch back.
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
            BugError: Something of the previous episode is still in flight.
        """
        if self._in_flight or self.outstanding:
            raise BugError(f"attached with {self.outstanding} responses outstanding")
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
        """Forget what is in flight: it belongs to an episode that is over, and its responses say nothing more."""
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
            claimed: Whether this daemon holds the claim and its doubt time is over: required for unguarded work.
        """
        queue = self._queue
        if not queue or self._alone or len(self._in_flight) >= IN_FLIGHT_BATCHES_MAX:
            return None
        batch = queue[0]
        if isinstance(batch, Fill):
            return None
        oldest = now_ms - self.limits.guard_ms
        state = self._state_time_ms
        # The usual case first: a fresh batch after fresh state (see `_is_guarded`).
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

        The state must exist now, and survive whatever the batch's own record time does to it (KAFKA_FACTS K6).
        At the start of a log there is nothing to double: the first batch creates the state. Where others write, a log
        that looked empty need not be empty any more.
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
        """Return the batches that are in flight, or wait to be sent."""
        yield from self._in_flight
        yield from (item for item in self._queue if isinstance(item, Batch))

    @property
    def head_bytes(self) -> int:
        """Size of the batch at the head of the queue; 0 if there is none."""
        head = self._queue[0] if self._queue else None
        return head.size if isinstance(head, Batch) else 0

    @property
    def head_fill(self) -> Fill | None:
        """The rest of the fill at the head of the queue, also while the first part of it is in flight."""
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

    # -- responses ------------------------------------------------------------------------------------------------

    @property
    def waits_for_answers(self) -> bool:
        """Whether batches of this episode are in flight."""
        return bool(self._in_flight)

    def answered(self) -> None:
        """Count one response, or that none will come.

        Raises:
            BugError: No request was outstanding.
        """
        self.outstanding -= 1
        if self.outstanding < 0:
            raise BugError("more responses than requests")

    def check_order(self, batch: Batch) -> None:
        """Make sure that a response is the one to the oldest batch in flight.

        Raises:
            BugError: It is not.
        """
        if not self._in_flight or self._in_flight[0] is not batch:
            raise BugError("responses out of order")

    def landed(self, batch: Batch) -> None:
        """Take that the oldest batch in flight is in the target's log.

        The broker ages its producer state by the last batch appended, not by the newest record (KAFKA_FACTS K6).
        """
        self._in_flight.popleft()
        self._alone = False
        self._state_time_ms = batch[2]

    def lands(self, batch: Batch) -> bool:
        """Take the usual response in one step; False, and nothing taken, if it is not for the oldest batch."""
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
            raise BugError("the response is for another fill than the one that is due")
        self._queue.popleft()
        if head.length > fill.length:
            self._queue.appendleft(Fill(fill.first_offset + fill.length, head.length - fill.length))
