"""Which target offset corresponds to which source offset: an ordered list of runs, exact both ways.

A run says that `length` offsets from `source` on correspond to as many from `target` on. A new run starts only where
the difference between the two changes: at source offsets that were not copied, or target offsets that are not the
source's. So a copy at identical offsets is a single run, and has no map at all.

Runs are kept in blocks. All but the last block are packed, a few bytes a run, and unpacked one at a time for a look-up:
a source that ends a transaction each second makes 86,400 runs a day and partition.
An offset is always the *next* record to read, so an offset that was not copied means the next one that was.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

from replicator.errors import BugError, CorruptRecords

RUNS_PER_BLOCK = 4096
BLOCKS_MAX = 2048
"""Of one partition, 15 to 40 MB. Beyond that, the oldest offsets can no longer be translated."""
_VARINT_MORE = 0x80
_VARINT_LOW = 0x7F
_VARINT_BITS_MAX = 63
_UNPACKED_BYTES_MAX = 16 << 20
"""Half a million runs at least: a block holds 4,096."""


class Run(NamedTuple):
    """`length` offsets of the source, from `source` on, correspond to those of the target from `target` on."""

    source: int
    target: int
    length: int

    @property
    def source_end(self) -> int:
        """The source offset after the run."""
        return self.source + self.length

    @property
    def target_end(self) -> int:
        """The target offset after the run."""
        return self.target + self.length


class OffsetPair(NamedTuple):
    """A place, the same moment in both logs: everything below `source` is copied, or never will be, below `target`."""

    source: int
    target: int


class Block(NamedTuple):
    """Runs in packed form: all the runs between two places."""

    begin: OffsetPair
    end: OffsetPair
    packed: bytes


class OffsetMap:
    """The map of one partition.

    Args:
        begin: The place from which it is known.

    Attributes:
        begin: Nothing is known below this place.
        end: The place up to which it is known.
    """

    __slots__ = ("_beyond", "_blocks", "_open", "_open_begin", "_unpacked", "begin", "end")

    def __init__(self, begin: OffsetPair) -> None:
        self.begin = begin
        self.end = begin
        self._blocks: list[Block] = []
        self._beyond: list[Block] = []
        self._open: list[Run] = []
        self._open_begin = begin
        self._unpacked: tuple[Block, list[Run]] | None = None

    @classmethod
    def of(cls, begin: OffsetPair, runs: Iterable[Run]) -> Self:
        """Return the map made of some runs, in order."""
        made = cls(begin)
        for run in runs:
            made.add(run)
        return made

    # -- growing ------------------------------------------------------------------------------------------------

    def add(self, run: Run) -> None:
        """Add what was copied next, and move `end` after it.

        Raises:
            BugError: The run starts below the end.
        """
        if run.source < self.end.source or run.target < self.end.target or run.length < 0:
            raise BugError(f"run {run} follows {self.end} in an offset map")
        if run.length:
            self._append(run)
        self.end = OffsetPair(run.source_end, run.target_end)

    def _append(self, run: Run) -> None:
        last = self._open[-1] if self._open else None
        if last is not None and last.source_end == run.source and last.target_end == run.target:
            self._open[-1] = Run(last.source, last.target, last.length + run.length)
            return
        if len(self._open) >= RUNS_PER_BLOCK:
            self._blocks.append(self.open_block())
            self._open_begin = self._blocks[-1].end
            self._open = []
        self._open.append(run)

    def pass_over(self, place: OffsetPair) -> None:
        """Move the end over offsets without copies: source offsets left out, or the target's own markers."""
        if place.source < self.end.source or place.target < self.end.target:
            raise BugError(f"place {place} lies below {self.end} in an offset map")
        self.end = place

    def go_straight(self, place: OffsetPair) -> None:
        """Add everything before a place as copied with the last difference, as far as both logs allow."""
        ahead = min(place.source - self.end.source, place.target - self.end.target)
        if ahead > 0:
            self.add(Run(*self.end, ahead))

    def cut(self, target_end: int) -> None:
        """Forget everything at or above a target offset: that log lost its end."""
        kept = list(self.below(OffsetPair(self.end.source, target_end)))
        self._start_over(self.begin)
        for run in kept:
            self.add(run)

    def _start_over(self, begin: OffsetPair) -> None:
        self._blocks, self._open, self._unpacked = [], [], None
        self._open_begin = self.end = self.begin = begin

    def drop_below(self, source_start: int, target_start: int) -> int:
        """Drop whole blocks that lie below both log starts, or exceed the maximum; return how many."""
        gone = 0
        for block in self._blocks:
            below = block.end.source <= source_start and block.end.target <= target_start
            if not below and len(self._blocks) - gone <= BLOCKS_MAX:
                break
            gone += 1
        if gone:
            self.begin = self._blocks[gone - 1].end
            del self._blocks[:gone]
        return gone

    @property
    def last_run_end(self) -> OffsetPair:
        """The place after the last run; `end` may be further on, with nothing copied in between."""
        last = self._open[-1] if self._open else None
        return OffsetPair(last.source_end, last.target_end) if last else self._open_begin

    def step_back(self, place: OffsetPair) -> None:
        """Move the end back to a place at or after the last run's end."""
        if place < self.last_run_end:
            raise BugError(f"place {place} lies within the runs of an offset map, up to {self.last_run_end}")
        self.end = place

    # -- parts --------------------------------------------------------------------------------------------------

    @property
    def sealed(self) -> Sequence[Block]:
        """The blocks that will not change any more."""
        return self._blocks

    def open_block(self, *, target_end: int = 0) -> Block:
        """Return the last block as it is now; it may still grow.

        Args:
            target_end: The target offset up to which certainly nothing more was copied, if that is further on.
        """
        source, target = self.last_run_end
        return Block(self._open_begin, OffsetPair(source, max(target, target_end)), pack(self._open_begin, self._open))

    def restore(self, blocks: Iterable[Block]) -> None:
        """Add stored blocks that connect to this map's end; keep the others, from the first gap on, for `leap`.

        Blocks of several writers may overlap: all of them are true, so what is known already is skipped.

        Raises:
            CorruptRecords: A block cannot be read.
        """
        self._beyond = []
        for block in sorted(blocks, key=lambda each: (each.begin.target, each.begin.source)):
            if block.end.target <= self.end.target:
                continue
            if self._beyond or block.begin.target > self.end.target or block.begin.source > self.end.source:
                self._beyond.append(block)
                continue
            for run in unpack(block):
                known = max(0, self.end.target - run.target, self.end.source - run.source)
                if known < run.length:
                    self.add(Run(run.source + known, run.target + known, run.length - known))
            if block.end.target > self.end.target:
                self.pass_over(OffsetPair(max(self.end.source, block.end.source), block.end.target))

    @property
    def known_beyond(self) -> OffsetPair | None:
        """The place up to which stored blocks reach that do not connect to this map's end; None for none."""
        return max(block.end for block in self._beyond) if self._beyond else None

    def leap(self, target_end: int) -> bool:
        """Start over with the first stored block after a gap, below a target offset; return whether there is one.

        A gap remains where blocks were dropped because both logs lost those offsets, or where one was never written.

        Raises:
            CorruptRecords: A block cannot be read.
        """
        beyond = self._beyond
        if not beyond or beyond[0].begin.target > target_end:
            return False
        self._start_over(beyond[0].begin)
        self.restore(beyond)
        return True

    def snapshot(self) -> Self:
        """Return a copy that does not change when this map grows: for another thread."""
        made = type(self)(self.begin)
        made._blocks, made._open = list(self._blocks), list(self._open)  # noqa: SLF001 - of its own kind
        made._open_begin, made.end = self._open_begin, self.end  # noqa: SLF001
        return made

    def runs(self) -> Iterator[Run]:
        """Yield all runs in order."""
        for block in self._blocks:
            yield from unpack(block)
        yield from self._open

    def below(self, place: OffsetPair) -> Iterator[Run]:
        """Yield the runs below a place in both logs, the last of them cut at the place."""
        for run in self.runs():
            length = min(run.length, place.source - run.source, place.target - run.target)
            if length > 0:
                yield Run(run.source, run.target, length)

    def __len__(self) -> int:
        """Return the number of runs, at most."""
        return len(self._blocks) * RUNS_PER_BLOCK + len(self._open)

    # -- asking -------------------------------------------------------------------------------------------------

    def to_target(self, offset: int) -> int:
        """Return the target offset that corresponds to a source offset; the end's for offsets beyond it."""
        run = self._first_run(offset, 0)
        return self.end.target if run is None else run.target + max(0, offset - run.source)

    def to_source(self, offset: int) -> int:
        """Return the source offset that corresponds to a target offset; the end's for offsets beyond it."""
        run = self._first_run(offset, 1)
        return self.end.source if run is None else run.source + max(0, offset - run.target)

    def holds(self, offset: int, side: int) -> bool:
        """Return whether an offset of one side (0 source, 1 target) has a record that the other side has, too."""
        run = self._first_run(offset, side)
        return run is not None and run[side] <= offset

    def straight_to_target(self, offset: int) -> int:
        """Return `to_target`, but with both logs continuing beyond the end with the last difference."""
        beyond = offset - self.end.source
        return self.end.target + beyond if beyond > 0 else self.to_target(offset)

    def straight_to_source(self, offset: int) -> int:
        """Return `to_source`, but with both logs continuing beyond the end with the last difference."""
        beyond = offset - self.end.target
        return self.end.source + beyond if beyond > 0 else self.to_source(offset)

    def _first_run(self, offset: int, side: int) -> Run | None:
        """Return the first run that ends above an offset of one side (0 source, 1 target)."""
        at = bisect_right(self._blocks, offset, key=lambda block: block.end[side])
        runs = self._runs_of(self._blocks[at]) if at < len(self._blocks) else self._open
        within = bisect_right(runs, offset, key=lambda run: run[side] + run.length)
        return runs[within] if within < len(runs) else None

    def _runs_of(self, block: Block) -> list[Run]:
        if self._unpacked is None or self._unpacked[0] is not block:
            self._unpacked = (block, unpack(block))
        return self._unpacked[1]


# -- packed ---------------------------------------------------------------------------------------------------------


def pack(begin: OffsetPair, runs: Iterable[Run]) -> bytes:
    """Return runs as compressed varints: the gap before each on both sides, and its length."""
    out = bytearray()
    source, target = begin
    for run in runs:
        for value in (run.source - source, run.target - target, run.length):
            _put(out, value)
        source, target = run.source_end, run.target_end
    return zlib.compress(bytes(out), 6)


def unpack(block: Block) -> list[Run]:
    """Return the runs of a block.

    Raises:
        CorruptRecords: Its bytes are not what `pack` produces, or its runs do not end at its recorded end.
    """
    runs = unpack_runs(block.begin, block.packed)
    end = OffsetPair(runs[-1].source_end, runs[-1].target_end) if runs else block.begin
    # On the target it may reach further: up to where certainly nothing more was copied.
    if end.source != block.end.source or end.target > block.end.target:
        raise CorruptRecords("a block of an offset map is damaged", why=f"it ends at {end}, not at {block.end}")
    return runs


def unpack_runs(begin: OffsetPair, packed: bytes) -> list[Run]:
    """Return packed runs.

    Raises:
        CorruptRecords: The bytes are not what `pack` produces.
    """
    runs: list[Run] = []
    source, target = begin
    try:
        values = list(_values(_inflated(packed)))
        for source_gap, target_gap, count in zip(*[iter(values)] * 3, strict=True):
            run = Run(source + source_gap, target + target_gap, count)
            runs.append(run)
            source, target = run.source_end, run.target_end
    except (zlib.error, ValueError) as error:
        raise CorruptRecords("an offset map cannot be read", why=str(error)) from error
    return runs


def _inflated(packed: bytes) -> bytes:
    """Return the decompressed bytes, up to a bound: whoever may write to the state topic may write anything there."""
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(packed, _UNPACKED_BYTES_MAX)
    if not unpacking.eof:
        why = "is cut off" if len(data) < _UNPACKED_BYTES_MAX else f"expands to more than {_UNPACKED_BYTES_MAX} bytes"
        raise ValueError(f"it {why}")
    return data


def _put(out: bytearray, value: int) -> None:
    while value > _VARINT_LOW:
        out.append(value & _VARINT_LOW | _VARINT_MORE)
        value >>= 7
    out.append(value)


def _values(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & _VARINT_LOW) << shift
        shift += 7
        if shift > _VARINT_BITS_MAX:
            raise ValueError("a number does not end")
        if not byte & _VARINT_MORE:
            yield value
            value = shift = 0
    if shift:
        raise ValueError("it is cut off")
