"""A partition that holds at markers, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading.doubt import ResponseBounds
from replicator.core.copy.reading.pieces import Encode, Fill, Piece, Skip
from replicator.core.copy.track import Track
from replicator.core.copy.values import Batch, TargetLimits
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.model.batch import CONTROL_BIT, LENGTH_PREFIX_BYTES, TRANSACTIONAL_BIT, BatchHeader, Unpacked
from replicator.model.names import TopicPartition

NOW = 1_700_000_000_000
START = 10
ANY = ResponseBounds()


def header(base: int, span: int = 5, **changes: int) -> BatchHeader:
    """Return a header of a batch over `span` offsets, of a transaction of producer 5 unless changed."""
    attributes = TRANSACTIONAL_BIT
    plain = BatchHeader(base, 100 - LENGTH_PREFIX_BYTES, 0, 2, 0, attributes, span - 1, NOW, NOW, 5, 0, 0, span, 0)
    return plain._replace(**changes)


def marker(base: int, producer: int = 5, **changes: int) -> BatchHeader:
    """Return a transaction marker."""
    bits = CONTROL_BIT | TRANSACTIONAL_BIT
    return header(base, 1, attributes=bits, producer_id=producer)._replace(**changes)


def unopened(_: BatchHeader) -> Sequence[Unpacked]:
    """No batch here has to be opened."""
    raise AssertionError("a batch was opened")


def unproven(_: BatchHeader) -> None:
    """No batch here has bytes."""


class Rig:
    """A machine with the engine's part played by hand: pieces are queued, batches and fills land."""

    def __init__(self, *, mapped: bool = False, holds: bool = True) -> None:
        self.copy = PartitionCopy(TopicPartition("orders", 0), TargetLimits(1000, 1000), holds_at_markers=holds)
        if mapped:
            self.copy.track = Track(OffsetMap(OffsetPair(START, START)), mapped=True)
        self.copy.reading.missing.compacted = True
        self.copy.resume(Resume(START, START, NOW))
        self.landed: list[tuple[str, int, int]] = []
        """What the target holds in the end: records or markers, their first target offset, and how many."""

    def read(self, *headers: BatchHeader, aborted: Sequence[tuple[int, int]] = ()) -> list[Piece]:
        """Offer an answer and queue what was taken."""
        pieces, ending = self.copy.offer(headers, aborted, ANY, unopened, unproven)
        assert ending is None or not ending.dropped
        for piece in pieces:
            if isinstance(piece, Fill):
                self.copy.fill(piece)
            elif isinstance(piece, Skip):
                self.copy.skip(piece)
            else:
                assert not isinstance(piece, Encode)
                shift = self.copy.shift
                self.copy.sending.queue(
                    [Batch(h.base_offset + shift, h.record_count, NOW, 100, 0, 0) for h, _ in piece]
                )
        return pieces

    def land(self) -> None:
        """Send all that is queued, and let it land where it should."""
        while not self.copy.sending.idle:
            if (fill := self.copy.fill_due()) is not None:
                fill = self.copy.begin_fill(3)
                self.landed.append(("markers", fill.first_offset, fill.length))
                self.copy.filled(fill, self.copy.episode, fill.first_offset + fill.length)
                continue
            batch = self.copy.sending.next_to_send(NOW, claimed=True)
            assert batch is not None
            self.landed.append(("records", batch.base_offset, batch.record_count))
            assert self.copy.accepted(batch, self.copy.episode, batch.base_offset)

    def attach(self) -> None:
        """Begin a new episode where answers proved the target's end."""
        self.copy.attach_again()
        offset, target = self.copy.acked_offset, self.copy.target_end
        self.copy.resume(Resume(offset, offset, NOW, target - offset))

    def stands(self) -> tuple[int | None, int | None, bool]:
        """Return where it stands, whose marker that is, and whether it reads on."""
        return self.copy.held_at, self.copy.held_producer_id, self.copy.wants_more(1000)


def held() -> Rig:
    """Return a machine that stands before the marker at 15."""
    rig = Rig()
    rig.read(header(10), marker(15), header(16))
    rig.land()
    assert rig.stands() == (15, 5, False)
    return rig
