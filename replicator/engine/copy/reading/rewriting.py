"""Carries out what the machine decided about a response: rewrites, merges or re-encodes its batches and queues them.

What may be opened for that is bounded (`wire.batches.inflate`): by how long the event loop can be held up, by a limit
per response, and, for batches that have to be re-encoded, by a part of the flow's `in_flight_bytes`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from replicator.core.copy.reading.coalesce import groups, is_far
from replicator.core.copy.reading.pieces import Encode, Fill, Skip
from replicator.core.copy.values import Batch
from replicator.engine.logs.opening import ON_LOOP_BYTES_MAX, beside, is_small
from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.model.batch import LENGTH_PREFIX_BYTES
from replicator.model.status.states import Reason
from replicator.wire.batches.batch import rewrite
from replicator.wire.batches.coalesce import MERGED_OPENED_BYTES_MAX, merge
from replicator.wire.batches.recode import build_batches, codec_of, open_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.core.copy.reading.pieces import Passes, Piece
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.ports import Supervisor
    from replicator.model.batch import BatchHeader
    from replicator.wire.batches.recode import Built, RawRecord
    from replicator.wire.frames import Frame
    from replicator.wire.transport.stream import Buffer

_ANSWER_OPENED_BYTES_MAX = 16 << 20
"""How much of one response is opened to merge small batches; more would hold up the event loop. The rest passes."""


class BatchRewriter:
    """Queues for the target what one reader received, rewritten as far as that is necessary.

    Args:
        context: What the parts of the pump share.
        supervisor: The pump.
    """

    def __init__(self, context: CopyContext, supervisor: Supervisor) -> None:
        self._context = context
        self._supervisor = supervisor
        self._opened_bytes = 0

    def begin_answer(self) -> None:
        """Start with another response: what may be opened is counted from zero again."""
        self._opened_bytes = 0

    def carry_out(self, slot: Slot, pieces: list[Piece], frame: Frame) -> None:
        """Queue what a response holds of one partition, in order."""
        for piece in pieces:
            if not slot.copy.is_copying():
                return
            if isinstance(piece, Encode):
                self._queue_built(slot, self._building(slot, piece, frame)(), frame)
            else:
                self._carry_one(slot, piece, frame)
        self._supervisor.has_work(slot)

    async def carry_out_beside(
        self, slot: Slot, pieces: list[Piece], frame: Frame, goes_on: Callable[[], bool]
    ) -> None:
        """Do the same, re-encoding off the event loop; stop when the partition does not continue."""
        for piece in pieces:
            if isinstance(piece, Encode):
                made = await beside(self._building(slot, piece, frame))
                if goes_on():
                    self._queue_built(slot, made, frame)
            elif goes_on():
                self._carry_one(slot, piece, frame)
            if not goes_on():
                return
            self._supervisor.has_work(slot)

    def _carry_one(self, slot: Slot, piece: Passes | Fill | Skip, frame: Frame) -> None:
        try:
            if isinstance(piece, Fill):
                slot.copy.fill(piece)
            elif isinstance(piece, Skip):
                slot.copy.skip(piece)
            else:
                self._pass(slot, piece, frame)
        except CorruptRecords as damage:
            # What precedes the damaged batch is dropped with it, and is copied after the operator's decision.
            self._supervisor.ended(slot, slot.copy.fault(Reason.CORRUPT_BATCH, str(damage)))

    def _pass(self, slot: Slot, passes: Passes, frame: Frame) -> None:
        """Queue batches that pass, small neighbours as one batch."""
        batch_bytes_max = slot.copy.limits.batch_bytes_max
        far = is_far(slot.copy.sending.outstanding, slot.proof.moved_at - slot.proof.verified_at)
        for group in groups(passes, batch_bytes_max, far=far):
            rest = group.passes
            while group.merged and len(rest) > 1:
                taken = self._merge(slot, rest, frame, batch_bytes_max)
                if not taken:
                    break
                rest = rest[taken:]
            if rest:
                self._rewrite(slot, rest, frame)

    def _merge(self, slot: Slot, passes: Passes, frame: Frame, batch_bytes_max: int) -> int:
        """Queue one batch that replaces the first few; return how many it replaces, 0 if merging is not possible."""
        if self._opened_bytes >= _ANSWER_OPENED_BYTES_MAX:
            return 0
        writer, start = self._context.writers.of(slot.target.topic), passes[0][0].start
        try:
            raw, base, count, max_timestamp, taken, opened_bytes = merge(
                frame.buffer, passes, writer.producer_id, writer.producer_epoch
            )
        except TooLargeToOpen:
            self._opened_bytes += MERGED_OPENED_BYTES_MAX
            return 0
        # A batch that did not fit was opened in vain; count it as if the limit for the merged batch had been reached.
        self._opened_bytes += opened_bytes if taken == len(passes) else MERGED_OPENED_BYTES_MAX
        size = len(raw)
        if size > batch_bytes_max:
            return 0
        payload: Buffer = raw
        if size <= passes[taken - 1][0].end - start:
            # Put it where the small ones were: the pool still bounds memory to the byte.
            payload = frame.view[start : start + size]
            payload[:] = raw
        frame.hold()
        slot.copy.sending.queue([Batch(base + slot.copy.shift, count, max_timestamp, size, payload, frame)])
        return taken

    def _rewrite(self, slot: Slot, passes: Passes, frame: Frame) -> None:
        writer, view = self._context.writers.of(slot.target.topic), frame.view
        rewrite(view, passes, writer.producer_id, writer.producer_epoch)
        new = tuple.__new__  # a named tuple's own constructor is a Python function
        batches: list[Batch] = []
        shift = slot.copy.shift
        for header, _ in passes:
            base, length, _, _, _, _, _, _, max_timestamp, _, _, _, count, start = header
            size = LENGTH_PREFIX_BYTES + length
            batches.append(new(Batch, (base + shift, count, max_timestamp, size, view[start : start + size], frame)))
        frame.hold(len(batches))
        slot.copy.sending.queue(batches)

    def _building(self, slot: Slot, piece: Encode, frame: Frame) -> Callable[[], list[Built]]:
        """Return a function that re-encodes records; it touches nothing else and may run in a thread."""
        writer = self._context.writers.of(slot.target.topic)
        return partial(
            build_batches,
            piece.records,  # type: ignore[arg-type] # what `open_batch` returned; opaque in core
            codec_of(frame.view, piece.header),
            producer_id=writer.producer_id,
            producer_epoch=writer.producer_epoch,
            sequence=piece.sequence,
            bytes_max=slot.copy.limits.batch_bytes_max,
        )

    def _queue_built(self, slot: Slot, made: list[Built], frame: Frame) -> None:
        """Queue batches built from an opened one. They hold its frame, so that the pool bounds them as well."""
        bytes_max, shift = slot.copy.limits.batch_bytes_max, slot.copy.shift
        batches = [
            Batch(each.base_offset + shift, each.record_count, each.max_timestamp, len(each.raw), each.raw, frame)
            for each in made
        ]
        largest = max(batches, key=lambda batch: batch.size)
        if largest.size > bytes_max:
            self._supervisor.ended(
                slot,
                slot.copy.fault(
                    Reason.RECORD_TOO_LARGE,
                    f"the record at offset {largest.base_offset - shift} takes {largest.size} bytes as a batch, "
                    f"the target topic takes {bytes_max} (max.message.bytes)",
                ),
            )
            return
        frame.hold(len(batches))
        slot.copy.sending.queue(batches)


def opened_at_once(frame: Frame, header: BatchHeader) -> list[RawRecord] | None:
    """Return the records of a batch; None if opening it would block the event loop for too long.

    Raises:
        CorruptRecords: It is damaged.
    """
    try:
        return open_batch(frame.view, header, ON_LOOP_BYTES_MAX) if is_small(header) else None
    except TooLargeToOpen:
        return None
