"""What becomes of the batches of one fetch response: passed on, filled, left out, re-encoded, or a reason to stop.

Most batches pass: one look at the header, nothing else. The others, in the order of the checks:

========================================================  ==========================================================
the batch                                                 what is done
========================================================  ==========================================================
claims what cannot be, or what nothing proves (below)     the episode ends, and the log is read once more
lies below the expected offset                            nothing: a broker returns whole batches
begins above the expected offset                          the gap is a hole, where a cleaner may have removed records
is a transaction marker, aborted, or empty                its offsets are a hole
was given up by an operator, all of it                    its offsets are a hole
was written by a flow of ours whose records are left out  its offsets are a hole
is a transaction marker, and the partition holds at them  reading stops until the marker may pass
is larger than the target accepts                         the partition stops
has magic 0 or 1, or LogAppendTime, or records that are   its records are re-encoded, in segments without a hole;
missing or given up, or begins below the expected offset  what lies between the segments is a hole
========================================================  ==========================================================

Whether a partition holds at markers is its policy (`IntakeState.holds_at_markers`). A marker that the cleaner emptied
no longer says anything about a transaction, and one that was given up is not waited for: both are holes.

A hole is filled on the target, or left out if the partition's offsets are mapped (`Holes`).

Base offset, batch length and leader epoch are not under a batch's checksum, so they are believed only as far as they
agree with what else is known (`ResponseBounds`, `doubt`): the batches of one response follow each other,
they end below the log's own end, no leader epoch is above the leader's, and no offset is missing from a log that no
cleaner works on. The offsets that are missing *inside* a batch are under its checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replicator.core.copy.reading.aborts import Aborts
from replicator.core.copy.reading.doubt import sound_length
from replicator.core.copy.reading.pieces import (
    FILL_AHEAD_MAX,
    Encode,
    Fill,
    Holes,
    IntakeState,
    Passes,
    Piece,
    Skip,
    Stop,
)
from replicator.core.copy.values import TargetLimits
from replicator.errors import CorruptRecords
from replicator.model.batch import (
    CONTROL_BIT,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    MAGIC_V2,
    SEQUENCE_MODULUS,
    BatchHeader,
    Unpacked,
    sequence_after,
)

Unpack = Callable[[BatchHeader], Sequence[Unpacked] | None]
"""Opens a batch; None if that takes too long to wait for, and has to be done first."""
Prove = Callable[[BatchHeader], None]

_NO_PASS_BITS = CONTROL_BIT | LOG_APPEND_TIME_BIT
_UNKNOWN_EPOCH = -1


def _unproven(header: BatchHeader) -> None:
    """Prove nothing."""
    del header


class Intake:
    """Takes the batches of one response in order.

    Args:
        given: The state of the partition at the start of the response.
        limits: What the target's topic accepts.
        aborted: Aborted transactions that the broker listed: (producer id, first offset).
        unpack: Opens a batch, or does not yet; raises CorruptRecords.
        prove: Verifies the checksum of a batch of which nothing is copied; raises CorruptRecords.

    Attributes:
        pieces: What to do, in order.
        stop: Why it ended early, if it did.
        stopped_at: The batch that it ended before.
        refused: Length of the hole that it ended before.
        doubt: Which claim of the response is suspect, in words.
    """

    __slots__ = (
        "_aborts",
        "_given",
        "_limits",
        "_prove",
        "_shift",
        "_unpack",
        "doubt",
        "epoch",
        "expected",
        "free",
        "pieces",
        "refused",
        "sequence",
        "stop",
        "stopped_at",
    )

    def __init__(
        self,
        given: IntakeState,
        limits: TargetLimits,
        aborted: Sequence[tuple[int, int]],
        unpack: Unpack,
        prove: Prove = _unproven,
    ) -> None:
        self.pieces: list[Piece] = []
        self.expected = given.expected
        self.sequence = given.sequence
        self.epoch = given.epoch
        self.free = given.free
        self.stop: Stop | None = None
        self.stopped_at: BatchHeader | None = None
        self.refused = 0
        self.doubt = ""
        self._given = given
        self._limits = limits
        self._shift = given.shift
        self._aborts = Aborts(aborted) if aborted else None
        self._unpack = unpack
        self._prove = prove

    def take(self, headers: Sequence[BatchHeader]) -> None:
        """Take the batches up to the end, or up to the first one that stops it."""
        passes: Passes | None = None
        expected, sequence, last_epoch = self.expected, self.sequence, self.epoch
        given = self._given
        length_max = self._limits.batch_bytes_max - LENGTH_PREFIX_BYTES
        plain_only = self._aborts is None and not given.given_up
        left_out = given.left_out
        end = given.edges.end
        begin = expected, sequence, self.free
        all_plain = True
        for header in headers:
            (base, length, epoch, magic, _, attributes, delta, _, _, producer_id, _, _, count, _) = header
            if (
                base == expected
                and count == delta + 1
                and epoch == last_epoch
                and not attributes & _NO_PASS_BITS
                and magic == MAGIC_V2
                and length <= length_max
                and 0 < count <= end - base
                and plain_only
                and not (left_out and producer_id in left_out)
            ):
                if passes is None:
                    passes = self._passes()
                passes.append((header, sequence))
                expected = base + count
                sequence = (sequence + count) % SEQUENCE_MODULUS
                continue
            if all_plain:
                # Batches that follow each other without a gap cannot overlap: only now is there anything to check.
                all_plain = False
                believed = sound_length(headers)
                if believed < len(headers):
                    self._take_believed(headers, believed, begin)
                    return
            self.expected, self.sequence = expected, sequence
            if not self._take_closely(header):
                self.stopped_at = header
                return
            expected, sequence, last_epoch = self.expected, self.sequence, self.epoch
            passes = None
        self.expected, self.sequence = expected, sequence

    def _take_believed(self, headers: Sequence[BatchHeader], believed: int, begin: tuple[int, int, bool]) -> None:
        """Start over, and end before the first of two batches that contradict each other."""
        self.expected, self.sequence, self.free = begin
        self.pieces.clear()
        self.take(headers[:believed])
        if self.stop is None:
            self.stopped_at = headers[believed]
            self._stop_in_doubt(f"the batches at offset {headers[believed].base_offset} contradict each other")

    def _stop_in_doubt(self, why: str) -> bool:
        self.stop, self.doubt = Stop.DOUBT, why
        return False

    def _passes(self) -> Passes:
        if self.pieces and isinstance(last := self.pieces[-1], list):
            return last
        passes: Passes = []
        self.pieces.append(passes)
        self.free = False
        return passes

    def _take_closely(self, header: BatchHeader) -> bool:
        """Take one batch that may be odd; return whether to continue."""
        aborted = self._aborts is not None and self._aborts.observe(header)
        if header.last_offset_delta < 0:
            raise CorruptRecords(f"the batch at offset {header.base_offset} ends before it begins")
        if header.magic == MAGIC_V2 and header.next_offset <= self.expected:
            return True
        if not self._ends_within(header) or not self._take_epoch(header):
            return False
        if header.magic != MAGIC_V2 and not self._is_given_up(header):
            return self._encode(header)
        if header.base_offset > self.expected and not self._pass_missing(header.base_offset):
            return False
        if (
            aborted
            or header.is_control
            or header.record_count <= 0
            or header.producer_id in self._given.left_out
            or self._is_given_up(header)
        ):
            return self._pass_over(header)
        return self._take_records(header)

    def _ends_within(self, header: BatchHeader) -> bool:
        """Return whether a batch ends below the log's own end."""
        end = self._given.edges.end
        if header.next_offset <= end:
            return True
        self.stop = Stop.BEYOND_END
        self.doubt = f"a batch claims offsets up to {header.next_offset - 1}, but the log ends at {end}"
        return False

    def _take_epoch(self, header: BatchHeader) -> bool:
        """Take a batch's leader epoch, which may differ from the previous batch's; return whether to continue."""
        epoch, edges = header.leader_epoch, self._given.edges
        if epoch == self.epoch:
            return True
        if epoch == _UNKNOWN_EPOCH:
            # A message of magic 0 or 1. The epoch of the batch before it ended somewhere before it: if a fetch carried
            # that epoch together with a later offset, the source would report a divergence.
            self.epoch = _UNKNOWN_EPOCH
            return True
        if edges.epoch_is_above(header):
            if edges.ignores_epoch(header):
                self.epoch = -1
                return True
            return self._stop_in_doubt(f"a batch claims leader epoch {epoch}, its leader is at {edges.leader_epoch}")
        if self.epoch >= 0 and self.expected != self._given.matched:
            self.stop = Stop.NEW_EPOCH
            return False
        # Epochs rise along a log. One that falls is not sent to the source: it would report a false divergence.
        self.epoch = epoch if epoch > self.epoch else -1
        return True

    def _pass_missing(self, offset: int) -> bool:
        """Pass offsets for which the log holds no batch, if that is possible; return whether to continue after them.

        Only the base offset of the next batch says that they are missing.
        """
        first, given = self.expected, self._given
        proven = given.gaps is None or given.gaps.get(first, -1) >= offset
        if not proven and not any(low <= first and offset <= end for low, end in given.given_up):
            return self._stop_in_doubt(
                f"no batch holds offsets {first} to {offset - 1}, and no cleaner works on this log"
            )
        return self._fill_to(offset, cleaned=True)

    def _pass_over(self, header: BatchHeader) -> bool:
        """Pass a batch of which nothing is copied, unless it is a transaction marker that may not pass yet."""
        if not self._is_given_up(header):
            self._prove(header)
        if (
            self._given.holds_at_markers
            and header.is_control
            and header.is_transactional
            and header.record_count > 0
            and self.expected != self._given.passing_marker
            and not self._is_given_up(header)
        ):
            self.stop = Stop.MARKER
            return False
        return self._fill_to(header.next_offset)

    def _is_given_up(self, header: BatchHeader) -> bool:
        """Return whether the whole rest of a batch was given up: then it is not even opened."""
        low = max(self.expected, header.base_offset)
        return any(first <= low and header.next_offset <= end for first, end in self._given.given_up)

    def _is_touched(self, header: BatchHeader) -> bool:
        return any(first < header.next_offset and header.base_offset < end for first, end in self._given.given_up)

    def _take_records(self, header: BatchHeader) -> bool:
        whole = header.record_count == header.last_offset_delta + 1 and header.base_offset == self.expected
        if not whole or header.attributes & LOG_APPEND_TIME_BIT or self._is_touched(header):
            return self._encode(header) and self._fill_to(header.next_offset, cleaned=True)
        if header.size > self._limits.batch_bytes_max:
            self.stop = Stop.TOO_LARGE
            return False
        self._passes().append((header, self.sequence))
        self._advance(header.next_offset, header.record_count)
        return True

    def _advance(self, expected: int, records: int) -> None:
        self.expected = expected
        self.sequence = sequence_after(self.sequence, records)

    def _fill_to(self, offset: int, *, cleaned: bool = False) -> bool:
        """Fill from the expected offset on, or leave out; return whether to continue after it."""
        count = offset - self.expected
        if count <= 0:
            return True
        self.stop = self._stop_at_hole(count, cleaned=cleaned)
        if self.stop is not None:
            self.refused = count
            return False
        if self._given.holes is Holes.SKIP:
            self._skip(count)
            return True
        if self.pieces and isinstance(last := self.pieces[-1], Fill):
            self.pieces[-1] = fill = Fill(last.first_offset, last.length + count)
        else:
            fill = Fill(self.expected, count)
            self.pieces.append(fill)
        self.expected = offset
        if self.free:
            self.sequence = (offset + self._shift) % SEQUENCE_MODULUS
        if fill.length > FILL_AHEAD_MAX:
            self.stop = Stop.LONG_FILL
            return False
        return True

    def _stop_at_hole(self, count: int, *, cleaned: bool) -> Stop | None:
        if cleaned and self.expected < self._given.intact_below:
            return Stop.TOMBSTONES
        if self._given.holes is Holes.HEAL and count >= self._shift and self.expected != self._given.matched:
            return Stop.HEAL
        if self._given.holes is not Holes.SKIP and count > self._limits.fill_length_max:
            return Stop.TOO_LONG_FILL
        return None

    def _skip(self, count: int) -> None:
        self.expected += count
        self._shift -= count
        if self.pieces and isinstance(last := self.pieces[-1], Skip):
            self.pieces[-1] = Skip(self.expected, last.length + count)
        else:
            self.pieces.append(Skip(self.expected, count))

    def _encode(self, header: BatchHeader) -> bool:
        """Open a batch and take its records in segments; return whether to continue after it."""
        run: list[Unpacked] = []
        records, given_up = self._unpack(header), self._given.given_up
        if records is None:
            self.stop = Stop.UNOPENED
            return False
        for record in records:
            if record.offset < self.expected or any(first <= record.offset < end for first, end in given_up):
                continue
            if run and record.offset != run[-1].offset + 1:
                self._end_run(header, run)
                run = []
            if not run and not self._reach(record.offset, header):
                return False
            run.append(record)
        if run:
            self._end_run(header, run)
        return True

    def _reach(self, offset: int, header: BatchHeader) -> bool:
        """Pass the offsets missing before a record of an opened batch; return whether the record may be taken."""
        if header.magic == MAGIC_V2 or offset <= self.expected:
            return self._fill_to(offset, cleaned=True)
        # The offset of a message of magic 0 or 1 is no better proven than the base offset of a batch.
        return self._pass_missing(offset)

    def _end_run(self, header: BatchHeader, run: list[Unpacked]) -> None:
        self.pieces.append(Encode(run[0].offset, self.sequence, header, run))
        self.free = False
        self._advance(run[-1].offset + 1, len(run))
