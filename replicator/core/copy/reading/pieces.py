"""What the batches of one response become: pieces to copy, fill or leave out, and why no more were taken.

`intake` makes the pieces; whoever carries batches to the target takes them in their order.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from replicator.core.copy.reading.doubt import ResponseBounds
from replicator.model.batch import BatchHeader, Unpacked

FILL_AHEAD_MAX = 1000
"""After a fill of more offsets than this, nothing is taken until it is done: its frames would be held meanwhile."""


class Fill(NamedTuple):
    """Source offsets that hold no record: `length` of them from `first_offset` on."""

    first_offset: int
    length: int


class Skip(NamedTuple):
    """Source offsets that are left out on the target: the copy continues at `source`, `length` offsets closer."""

    source: int
    length: int


class Holes(enum.Enum):
    """What is done with source offsets that hold no record to copy."""

    FILL = enum.auto()
    """Markers are written at their offsets."""
    HEAL = enum.auto()
    """The target holds surplus markers: an attach at the next hole at least as long counts them as its fill."""
    SKIP = enum.auto()
    """They are left out on the target: its offsets are mapped."""


class Encode(NamedTuple):
    """Records at consecutive offsets from `base_offset` on, to write as a batch of their own."""

    base_offset: int
    sequence: int
    header: BatchHeader
    records: Sequence[Unpacked]


Passes = list[tuple[BatchHeader, int]]
"""Batches that pass, each with its base sequence."""
Piece = Passes | Fill | Skip | Encode


class Stop(enum.Enum):
    """Why a response was not taken to its end."""

    TOO_LARGE = enum.auto()
    NEW_EPOCH = enum.auto()
    LONG_FILL = enum.auto()
    TOO_LONG_FILL = enum.auto()
    HEAL = enum.auto()
    TOMBSTONES = enum.auto()
    MARKER = enum.auto()
    BEYOND_END = enum.auto()
    """A batch lies beyond the log end in the same response. That end may be older than the batches: fetch once more."""
    UNOPENED = enum.auto()
    """A batch has to be opened first; then the rest of the same response is taken."""
    DOUBT = enum.auto()


class IntakeState(NamedTuple):
    """The state of a partition at the start of a response.

    Attributes:
        expected: The source offset that comes next.
        sequence: The sequence number of the next record.
        epoch: Leader epoch of the previous batch, -1 when unknown.
        matched: The offset at which both logs were compared: a new leader epoch there means nothing.
        shift: Target offset less source offset of the expected offset.
        holes: What is done with offsets that hold no record.
        free: Whether the target remembers no sequence of ours and nothing was taken since: then the sequence follows
            the offset through fills. Two daemons that begin there must choose the same one, or the broker would accept
            both.
        given_up: Source offsets that an operator gave up, from and to, in order.
        intact_below: Below this source offset the cleaner must not have removed anything: tombstones might be lost.
        holds_at_markers: Whether it stops before transaction markers, except the one at `passing_marker`.
        passing_marker: Source offset of a marker that may pass; -1 for none.
        left_out: Producers whose records are not copied.
        edges: Bounds that the batches of the response must fit in.
        gaps: Offsets proven to have no batch, from and to; None where a cleaner may have removed any.
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
    edges: ResponseBounds = ResponseBounds()
    gaps: Mapping[int, int] | None = None
