"""What the batches of one answer are taken as: pieces to copy, to fill or to leave out, and why no more were taken.

`core.copy.intake` makes them, and whoever carries batches to the target takes them in their order.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from replicator.core.copy.doubt import Edges
from replicator.model.batch import BatchHeader, Unpacked

FILL_AHEAD_MAX = 1000
"""Offsets to be filled in one piece before which nothing behind them is taken: it would hold its frames meanwhile."""


class Fill(NamedTuple):
    """Source offsets that hold no record: `length` of them from `first_offset` on."""

    first_offset: int
    length: int


class Skip(NamedTuple):
    """Source offsets that are left out on the target: copying goes on at `source`, with `length` fewer in between."""

    source: int
    length: int


class Holes(enum.Enum):
    """What is done with source offsets that hold no record to copy."""

    FILL = enum.auto()
    """Markers take their place."""
    HEAL = enum.auto()
    """The target holds markers too many: an attach at the next hole as long as they are counts them there."""
    SKIP = enum.auto()
    """They have no place on the target: its offsets are mapped."""


class Encode(NamedTuple):
    """Records at consecutive offsets from `base_offset` on, to be written as a batch of their own."""

    base_offset: int
    sequence: int
    header: BatchHeader
    records: Sequence[Unpacked]


Passes = list[tuple[BatchHeader, int]]
"""Batches that pass, each with its base sequence."""
Piece = Passes | Fill | Skip | Encode


class Stop(enum.Enum):
    """Why an answer was not taken to its end."""

    TOO_LARGE = enum.auto()
    NEW_EPOCH = enum.auto()
    LONG_FILL = enum.auto()
    TOO_LONG_FILL = enum.auto()
    HEAL = enum.auto()
    TOMBSTONES = enum.auto()
    MARKER = enum.auto()
    BEYOND_END = enum.auto()
    """The answer's own end of the log is below a batch: it may be older than the batches, so it is read once more."""
    UNOPENED = enum.auto()
    """A batch has to be opened first; then the same answer is taken further."""
    DOUBT = enum.auto()


class Given(NamedTuple):
    """What a partition is like at the beginning of an answer.

    Attributes:
        expected: The source offset that comes next.
        sequence: The sequence number of the next record.
        epoch: Leader epoch of the batch before, -1 when unknown.
        matched: The offset at which both logs were compared: a new leader epoch there is no news.
        shift: How much further on the target the expected offset stands.
        holes: What is done with offsets that hold no record.
        free: Whether the target remembers no sequence of ours and nothing was taken since: then the sequence follows
            the offset through fills. Two daemons that begin there must choose the same one, or both would be taken.
        given_up: Source offsets that an operator gave up, from and to, in order.
        intact_below: Below this source offset nothing may have been cleaned away: tombstones might be lost with it.
        holds_at_markers: Whether it stops before a transaction marker, other than
        passing_marker: the one at this source offset; -1 for none.
        left_out: Producers whose records are not copied.
        edges: What the batches of the answer have to fit in.
        gaps: Offsets without a batch that were proven, from and to; None where a cleaner may have taken any.
    """

    expected: int
    sequence: int
    epoch: int
    matched: int
    shift: int = 0
    holes: Holes = Holes.FILL
    free: bool = False
    given_up: Sequence[tuple[int, int]] = ()
    intact_below: int = 0
    holds_at_markers: bool = False
    passing_marker: int = -1
    left_out: Collection[int] = frozenset()
    edges: Edges = Edges()
    gaps: Mapping[int, int] | None = None
