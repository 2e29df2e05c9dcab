"""Takes what a fetch response holds of one partition: its batches, its log's bounds, or why there is nothing."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from replicator.core.copy.reading.doubt import ResponseBounds
from replicator.core.copy.writing.answers import FetchOutcome, classify_fetch
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.waiting import waits_for
from replicator.engine.copy.reading.rewriting import BatchRewriter, opened_at_once
from replicator.engine.logs.refusals import describe_refusal
from replicator.errors import BugError, CorruptRecords, ReplicatorError, TooLargeToOpen
from replicator.model.batch import LENGTH_PREFIX_BYTES, MAGIC_V2
from replicator.model.spec import Isolation
from replicator.model.status.states import Reason
from replicator.wire.batches.batch import prove, scan
from replicator.wire.protocol.faults import error_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.core.copy.reading.pieces import Piece
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.ports import ReadSupervisor
    from replicator.engine.copy.reading.read_plan import ReadPlan
    from replicator.engine.state.ownership.origins import Origins
    from replicator.model.batch import BatchHeader
    from replicator.wire.batches.recode import RawRecord
    from replicator.wire.frames import Frame
    from replicator.wire.messages.data.fetch import Fetched

_PREFIX = struct.Struct(">qi")


class RequestedPartition(NamedTuple):
    """For whom a partition was requested: the object, its episode, and the leader epoch of the request.

    The response belongs to that object. A successor of the same name may be in an episode of the same number.
    """

    slot: Slot
    episode: int
    leader_epoch: int

    @property
    def is_present(self) -> bool:
        """Whether the partition is still in that episode."""
        return self.slot.copy.episode == self.episode


class _Offered(NamedTuple):
    """What a response holds of one partition."""

    asked: RequestedPartition
    headers: list[BatchHeader]
    fetched: Fetched
    frame: Frame


class ResponseHandler:
    """Handles the responses of one reader, partition by partition.

    Args:
        context: What the parts of the pump share.
        supervisor: The pump.
        plan: What the reader reads.
        rewriter: Queues for the target what was taken.
        kick: Lets the reader ask for more.
    """

    def __init__(
        self,
        context: CopyContext,
        supervisor: ReadSupervisor,
        plan: ReadPlan,
        rewriter: BatchRewriter,
        kick: Callable[[], None],
    ) -> None:
        self._context = context
        self._supervisor = supervisor
        self._plan = plan
        self._rewriter = rewriter
        self._kick = kick

    def take(
        self, asked: RequestedPartition, fetched: Fetched, frame: Frame, asked_at: float, *, alone: bool
    ) -> list[Piece]:
        """Take what a response holds of one partition; return what to carry to the target.

        Args:
            asked: For whom it was requested.
            fetched: The partition's part of the response.
            frame: The frame that holds the response.
            asked_at: Monotonic time at which the request was sent.
            alone: Whether the request was for this partition only.
        """
        slot = asked.slot
        if fetched.error:
            self._on_partition_error(slot, fetched)
            return []
        copy = slot.copy
        slot.seen.source_start = fetched.log_start
        end, now = fetched.high_watermark, self._context.now()
        if self._context.isolation is Isolation.READ_COMMITTED:
            slot.seen.observe_stable(fetched.last_stable_offset, end, now)
            end = fetched.last_stable_offset
        slot.lag.reach(copy.acked_offset)
        slot.lag.observe(end, asked_at)
        if fetched.diverging is not None:
            epoch, offset = fetched.diverging
            self._supervisor.ended(
                slot,
                slot.copy.fault(
                    Reason.SOURCE_TRUNCATED,
                    f"the source's history now ends at {offset} in leader epoch {epoch}; "
                    f"{copy.reading.next_offset} was read in epoch {copy.reading.last_epoch}",
                ),
            )
            return []
        if copy.is_copying() and fetched.start != fetched.end:
            return self._offer(asked, fetched, frame, alone=alone)
        if copy.is_copying() and end > copy.reading.next_offset and not frame.has_grown:
            self._supervisor.answered_empty(slot)
        return []

    def _offer(self, asked: RequestedPartition, fetched: Fetched, frame: Frame, *, alone: bool) -> list[Piece]:
        slot, copy = asked.slot, asked.slot.copy
        if fetched.log_start > copy.reading.next_offset:
            # Offsets that retention deleted are not holes: the attach reads both logs and reports what happened.
            self._supervisor.ended(slot, slot.copy.settle(f"the source's log now starts at {fetched.log_start}"))
            return []
        try:
            headers = scan(frame.buffer, fetched.start, fetched.end)
            if not headers:
                self._first_batch_cut(slot, fetched, frame, alone=alone)
                return []
            if self._context.origins is not None:
                headers = self._up_to_unknown(slot, headers, self._context.origins)
            offered = _Offered(asked, headers, fetched, frame)
            pieces = self._offer_headers(offered)
        except CorruptRecords as damage:
            self._supervisor.ended(slot, slot.copy.fault(Reason.CORRUPT_BATCH, str(damage)))
            return []
        self._plan.waits_to_open.discard(slot)
        if copy.is_copying() and copy.reading.unopened is not None:
            if self._context.opener.take_turn():
                self._plan.opening.add(slot)
                frame.hold()
                self._supervisor.start(self._open_beside(offered, copy.reading.unopened), slot)
            else:
                # It is read again once it may be opened: a response that waits would keep its frame from others.
                self._plan.waits_to_open.add(slot)
        return pieces

    def _offer_headers(
        self, offered: _Offered, known: tuple[BatchHeader, list[RawRecord]] | None = None
    ) -> list[Piece]:
        """Let the machine take the rest of a response; `known` is a batch that has been opened for it.

        Raises:
            CorruptRecords: A batch that had to be opened, or compared, is damaged; nothing was taken.
        """
        asked, headers, fetched, frame = offered
        slot = asked.slot

        def unpack(header: BatchHeader) -> list[RawRecord] | None:
            return known[1] if known is not None and header is known[0] else opened_at_once(frame, header)

        pieces, ending = slot.copy.offer(
            headers,
            fetched.aborted or (),
            ResponseBounds(fetched.high_watermark, asked.leader_epoch, slot.recorded.epochs_unproven),
            unpack,
            lambda header: prove(frame.view, header),
        )
        self._supervisor.ended(slot, ending)
        return pieces

    async def _open_beside(self, offered: _Offered, header: BatchHeader) -> None:
        """Take the rest of a response whose next batch would take too long to open on the event loop."""
        asked, frame = offered.asked, offered.frame
        slot, rewriter = asked.slot, self._rewriter

        async def take(records: list[RawRecord]) -> None:
            if self._goes_on(asked):
                pieces = self._offer_headers(offered, (header, records))
                await rewriter.carry_out_beside(slot, pieces, frame, lambda: self._goes_on(asked))

        try:
            while self._goes_on(asked):
                await self._context.opener.use(frame, header, take)
                following = slot.copy.reading.unopened
                if following is None or following is header:
                    return
                header = following
        except (TooLargeToOpen, CorruptRecords) as error:
            if self._goes_on(asked):
                self._cannot_be_opened(slot, header, error)
        finally:
            self._context.opener.end_turn()
            self._plan.opening.discard(slot)
            self._plan.recheck(slot.source)
            frame.release()
            self._supervisor.wake_writers()
            self._supervisor.wake_readers()

    def _cannot_be_opened(self, slot: Slot, header: BatchHeader, error: TooLargeToOpen | CorruptRecords) -> None:
        """Stop a partition at a batch that cannot pass unopened, and is damaged or takes too much memory to open."""
        if isinstance(error, CorruptRecords):
            self._supervisor.ended(slot, slot.copy.fault(Reason.CORRUPT_BATCH, str(error)))
            return
        slot.blocking_batch.too_large = (header.base_offset, header.next_offset) if header.magic == MAGIC_V2 else None
        self._supervisor.ended(
            slot,
            slot.copy.fault(
                Reason.BATCH_TOO_LARGE,
                f"{error}; it cannot be copied as it is, and limits.in_flight_bytes allows "
                f"{self._context.opener.bytes_max} bytes (half of it) for the records of one batch",
            ),
        )

    def _goes_on(self, asked: RequestedPartition) -> bool:
        slot = asked.slot
        return asked.is_present and slot.copy.is_copying() and self._plan.reads(slot)

    def _first_batch_cut(self, slot: Slot, fetched: Fetched, frame: Frame, *, alone: bool) -> None:
        """Handle a response that ends inside its first batch.

        Brokers do that when other partitions filled the response first. So the next request allows more bytes; if that
        does not help, this partition is fetched alone. A batch that is cut off even then claims a wrong length.
        """
        claimed_bytes = 0
        if fetched.end - fetched.start >= LENGTH_PREFIX_BYTES:
            claimed_bytes = _PREFIX.unpack_from(frame.buffer, fetched.start)[1] + LENGTH_PREFIX_BYTES
        if alone:
            self._supervisor.ended(
                slot,
                slot.copy.fault(
                    Reason.CORRUPT_BATCH,
                    f"the source's batch at offset {slot.copy.reading.next_offset} claims {claimed_bytes} bytes, "
                    f"and even a response with nothing else holds only {fetched.end - fetched.start} of them",
                ),
            )
            return
        self._plan.make_room_for(slot, claimed_bytes)

    def _up_to_unknown(self, slot: Slot, headers: list[BatchHeader], origins: Origins) -> list[BatchHeader]:
        """Return the batches before the first one whose writer has to be found out; the rest will be read again."""
        unknown = origins.unknown(header.producer_id for header in headers if header.magic == MAGIC_V2)
        if not unknown:
            return headers
        self._plan.asking_whose.add(slot)
        self._supervisor.start(self._learn_whose(slot, unknown, origins), slot)
        first = next(at for at, header in enumerate(headers) if header.producer_id in unknown)
        return headers[:first]

    async def _learn_whose(self, slot: Slot, producer_ids: frozenset[int], origins: Origins) -> None:
        try:
            await origins.learn(producer_ids)
        except BugError:
            raise  # it stops the partition, with the reason for a bug
        except ReplicatorError as error:
            if slot.copy.is_copying():
                why = f"it is not known who wrote the next records: {error.with_next_step()}"
                self._rest(slot, why, waits_for(error))
        finally:
            self._plan.asking_whose.discard(slot)
            self._plan.recheck(slot.source)
            self._kick()

    def _rest(self, slot: Slot, why: str, reason: Reason) -> None:
        self._supervisor.rest(slot, why, reason)
        self._context.problems.report(str(slot.source), why)

    def _on_partition_error(self, slot: Slot, fetched: Fetched) -> None:
        outcome = classify_fetch(fetched.error)
        name = error_name(fetched.error)
        if outcome is FetchOutcome.OUT_OF_RANGE:
            # Log start and end show whether the offset is below or above the log: the attach reads both.
            self._supervisor.ended(slot, slot.copy.settle(f"{name} at {slot.copy.reading.next_offset}"))
        elif outcome is FetchOutcome.REJECTED:
            why = describe_refusal(self._context.source.cluster.spec, "Fetch", fetched.error, slot.source.topic)
            self._rest(slot, f"the source refuses to let us read: {why}", Reason.WAITING_FOR_ACCESS)
        else:
            self._supervisor.ended(slot, slot.copy.settle(f"the source answers {name}"))
            self._supervisor.leaders_stale(target=False)
