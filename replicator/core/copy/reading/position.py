"""How far one partition has read its source, and what it may expect to come next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.copy.reading.hold import Hold, Marker
from replicator.core.copy.reading.intake import Intake
from replicator.core.copy.reading.pieces import IntakeState, Stop
from replicator.core.copy.reading.trust import Trust
from replicator.errors import BugError
from replicator.model.batch import SEQUENCE_MODULUS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from replicator.core.copy.attaching.facts import Resume
    from replicator.core.copy.reading.doubt import ResponseBounds
    from replicator.core.copy.reading.intake import Prove, Unpack
    from replicator.core.copy.reading.pieces import Holes
    from replicator.core.copy.values import TargetLimits
    from replicator.model.batch import BatchHeader


@dataclass(slots=True)
class Missing:
    """Which records may be missing between two batches of the source, and which to leave out.

    Attributes:
        compacted: Whether a cleaner is known to work on the source's log: offsets may be missing anywhere in it.
        intact_below: Source offset below which tombstones may be among the records that the cleaner removed; 0 for
            none.
        given_up: Source offsets that an operator gave up, from and to, in order.
        left_out: Producers on the source whose records are not copied (`loop_guard: origin`).
    """

    compacted: bool = False
    intact_below: int = 0
    given_up: tuple[tuple[int, int], ...] = ()
    left_out: Collection[int] = frozenset()


class Reading:
    """Reads one partition from the source.

    Args:
        holds_at_markers: Whether it stops before each transaction marker of the source until that may pass.

    Attributes:
        next_offset: The source offset expected next.
        last_epoch: Leader epoch of the last source batch accepted, -1 when unknown.
        unopened: The batch that must be opened before the rest of the last response can be taken.
        missing: Which records may be missing.
        trust: Which claims of the source's responses are believed.
        hold: What it waits at.
        matched_offset: The source offset at which the last attach compared both logs.
    """

    __slots__ = (
        "_holds_at_markers",
        "_sequence",
        "_sequence_free",
        "hold",
        "last_epoch",
        "matched_offset",
        "missing",
        "next_offset",
        "trust",
        "unopened",
    )

    def __init__(self, *, holds_at_markers: bool) -> None:
        self.next_offset = 0
        self.last_epoch = -1
        self.unopened: BatchHeader | None = None
        self.missing = Missing()
        self.trust = Trust()
        self.hold = Hold()
        self.matched_offset = -1
        self._holds_at_markers = holds_at_markers
        self._sequence = 0
        self._sequence_free = False

    def begin(self, decision: Resume, epoch: int) -> None:
        """Read from the place that the attach found; `epoch` is the leader epoch of the source batch before it."""
        self.next_offset = self.matched_offset = decision.offset
        self.last_epoch = epoch
        self._sequence = decision.sequence
        by_offset = decision.place.target % SEQUENCE_MODULUS
        self._sequence_free = decision.state_time_ms is None and decision.sequence == by_offset
        self.trust.begin_episode()
        self.missing.given_up = tuple(each for each in self.missing.given_up if each[1] > decision.offset)

    def take(
        self,
        headers: Sequence[BatchHeader],
        aborted: Sequence[tuple[int, int]],
        edges: ResponseBounds,
        *,
        shift: int,
        holes: Holes,
        limits: TargetLimits,
        unpack: Unpack,
        prove: Prove,
    ) -> Intake:
        """Take the batches of one response, up to its end or to the first batch that stops it.

        Raises:
            CorruptRecords: A batch that had to be opened or verified is damaged; nothing was taken.
        """
        given = self._given(edges, shift, holes)
        intake = Intake(given, limits, aborted, unpack, prove)
        if self.trust.overlaps(headers, self.next_offset):
            intake.stop = Stop.DOUBT
            intake.doubt = f"its first batch begins at {headers[0].base_offset}, below the end of the batch before it"
        else:
            intake.take(headers)
        moved = intake.expected != self.next_offset
        self.next_offset = intake.expected
        self._sequence = intake.sequence
        self._sequence_free = intake.free
        self.last_epoch = intake.epoch
        self.unopened = intake.stopped_at if intake.stop is Stop.UNOPENED else None
        why = self.trust.took(headers, intake.expected, moved=moved, stopped=intake.stop is not None)
        if why is not None:
            intake.stop, intake.doubt = Stop.DOUBT, why
        return intake

    def _given(self, edges: ResponseBounds, shift: int, holes: Holes) -> IntakeState:
        missing = self.missing
        return IntakeState(
            self.next_offset,
            self._sequence,
            self.last_epoch,
            self.matched_offset,
            shift,
            holes,
            self._sequence_free,
            missing.given_up,
            missing.intact_below,
            self._holds_at_markers,
            self.hold.passing,
            missing.left_out,
            edges,
            None if missing.compacted else self.trust.gaps,
        )

    def hold_before(self, intake: Intake) -> None:
        """Wait at the transaction marker that a response stopped at."""
        self.hold.before(Marker(intake.expected, stopped_at(intake).producer_id))

    def pass_to(self, end: int, shift: int) -> None:
        """Continue at the source offset `end`: there is no record between here and there."""
        self.next_offset = end
        if self._sequence_free:
            self._sequence = (end + shift) % SEQUENCE_MODULUS


def stopped_at(intake: Intake) -> BatchHeader:
    """Return the batch that a response stopped before.

    Raises:
        BugError: It stopped before none.
    """
    if intake.stopped_at is None:
        raise BugError("an intake stopped, but at no batch")
    return intake.stopped_at
