"""Offset maps and translation against lists of copied records, looked through one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.copy.track import Track
from replicator.core.offsets import offset_map
from replicator.core.offsets.offset_map import Block, OffsetMap, OffsetPair, Run, pack, unpack
from replicator.core.offsets.translation import KnownOffsets, OffsetTranslation, translate
from replicator.errors import CorruptRecords
from replicator.model.operations.translation import TranslationState as State

Pairs = Sequence[OffsetPair]
"""Every copied record: where it stands on the source, and on the target."""

_GAPS = st.sampled_from((0, 0, 0, 1, 2, 7))
_STEPS = st.lists(st.tuples(_GAPS, _GAPS, st.integers(1, 6)), max_size=25)
_PLACES = st.builds(OffsetPair, st.integers(0, 9), st.integers(0, 9))


@st.composite
def runs(draw: st.DrawFn) -> tuple[OffsetPair, list[Run], OffsetPair]:
    """Draw where a map begins, its runs, and where it ends: gaps on both sides, also before the end."""
    begin = place = draw(_PLACES)
    found = []
    for source_gap, target_gap, length in draw(_STEPS):
        run = Run(place.source + source_gap, place.target + target_gap, length)
        found.append(run)
        place = OffsetPair(run.source_end, run.target_end)
    return begin, found, OffsetPair(place.source + draw(_GAPS), place.target + draw(_GAPS))


@contextmanager
def small_blocks(size: int) -> Iterator[None]:
    """Let a few runs fill a block."""
    with patch.object(offset_map, "RUNS_PER_BLOCK", size):
        yield


def made(begin: OffsetPair, found: Sequence[Run], end: OffsetPair) -> OffsetMap:
    """Return the map of runs."""
    offsets = OffsetMap.of(begin, found)
    offsets.pass_over(end)
    return offsets


def pairs_of(found: Sequence[Run]) -> list[OffsetPair]:
    """Return the records one by one."""
    return [OffsetPair(run.source + at, run.target + at) for run in found for at in range(run.length)]


def check(known: KnownOffsets, pairs: Pairs) -> None:
    """Every question in both directions, from 0 to beyond the end, is answered as the records tell."""
    for reverse in (False, True):
        asked, other = (1, 0) if reverse else (0, 1)
        end = known.proven_end
        start = known.source_start if reverse else known.target_start
        for offset in range(end[asked] + 4):
            answer = translate(known, offset, reverse=reverse)
            if offset > end[asked]:
                state = State.BEYOND_TARGET_END if reverse else State.NOT_YET_REPLICATED
                assert answer == OffsetTranslation(state, None, offset - end[asked])
                continue
            if answer.state is State.BELOW_MAP:
                assert known.offsets is not None
                assert offset < known.offsets.begin[asked]
                assert known.offsets.begin[other] > start
                continue
            found = answer.offset
            assert found is not None
            # What a reader of the other side is given first from there on, and what it has to be given first.
            there = [pair for pair in pairs if pair[other] >= start]
            assert next((pair for pair in there if pair[other] >= found), None) == next(
                (pair for pair in there if pair[asked] >= offset), None
            )
            assert start <= found <= max(start, end[other])
            exact = next((pair[other] for pair in pairs if pair[asked] >= offset), end[other])
            # A record of that very offset is named by its own, never by one before it.
            if answer.state is State.EXACT and known.offsets is not None:
                assert found == exact
            if answer.state is State.BELOW_LOG_START:
                assert found == start
                assert exact <= start or (known.offsets is not None and offset < known.offsets.begin[asked])


@given(drawn=runs(), size=st.integers(1, 4), starts=_PLACES)
def test_a_map_answers_as_its_records_do(
    drawn: tuple[OffsetPair, list[Run], OffsetPair], size: int, starts: OffsetPair
) -> None:
    """Also where an answer lies in another block, between two, or below a log's start."""
    with small_blocks(size):
        offsets = made(*drawn)
        pairs = pairs_of(drawn[1])
        check(KnownOffsets(offsets, True, offsets.end, *starts), pairs)  # noqa: FBT003 - in the order of its fields
        # Claimed to be copied, and not in the map: never told.
        check(KnownOffsets(offsets, True, OffsetPair(10**6, 10**6), *starts), pairs)  # noqa: FBT003


@given(drawn=runs(), ahead=_PLACES, size=st.integers(1, 4))
def test_beyond_the_last_difference_offsets_go_straight_on(
    drawn: tuple[OffsetPair, list[Run], OffsetPair], ahead: OffsetPair, size: int
) -> None:
    """As far as both ends lead: records and markers alike stand at one difference there."""
    begin, found, end = drawn
    with small_blocks(size):
        offsets = made(begin, found, end)
        known = KnownOffsets(offsets, False, OffsetPair(end.source + ahead.source, end.target + ahead.target), 0, 0)  # noqa: FBT003
        straight = min(ahead)
        check(known, pairs_of([*found, Run(*end, straight)]))
        assert known.proven_end == OffsetPair(end.source + straight, end.target + straight)
        assert offsets.end == end, "asking changes nothing"


@given(end=st.integers(0, 20), starts=_PLACES)
def test_without_a_map_offsets_are_the_same(end: int, starts: OffsetPair) -> None:
    """Up to the end and down to the log's start."""
    check(KnownOffsets(None, False, OffsetPair(end, end), *starts), [OffsetPair(at, at) for at in range(end)])  # noqa: FBT003


@given(drawn=runs(), size=st.integers(1, 4), cut=st.integers(0, 150))
def test_a_log_that_lost_its_end_is_cut(drawn: tuple[OffsetPair, list[Run], OffsetPair], size: int, cut: int) -> None:
    """What was below stays, and the map grows again from there."""
    with small_blocks(size):
        offsets = made(*drawn)
        offsets.cut(cut)
        left = [pair for pair in pairs_of(drawn[1]) if pair.target < cut]
        check(KnownOffsets(offsets, True, offsets.end, 0, 0), left)  # noqa: FBT003
        assert offsets.end == (OffsetPair(left[-1].source + 1, left[-1].target + 1) if left else drawn[0])
        more = Run(offsets.end.source + 1, offsets.end.target, 2)
        offsets.add(more)
        check(KnownOffsets(offsets, True, offsets.end, 0, 0), [*left, *pairs_of([more])])  # noqa: FBT003


@given(drawn=runs(), size=st.integers(1, 4), starts=st.builds(OffsetPair, st.integers(0, 80), st.integers(0, 80)))
def test_dropped_blocks_change_no_answer(
    drawn: tuple[OffsetPair, list[Run], OffsetPair], size: int, starts: OffsetPair
) -> None:
    """They lay below both starts. A daemon that finds only the others begins its map there."""
    with small_blocks(size):
        offsets = made(*drawn)
        before = offsets.begin
        offsets.drop_below(*starts)
        check(KnownOffsets(offsets, True, offsets.end, *starts), pairs_of(drawn[1]))  # noqa: FBT003
        again = OffsetMap(before)
        again.restore([*offsets.sealed, offsets.open_block()])
        again.leap(offsets.end.target)
        assert list(again.runs()) == list(offsets.runs())
        if drawn[1]:
            again.pass_over(drawn[2])
            check(KnownOffsets(again, True, again.end, *starts), pairs_of(drawn[1]))  # noqa: FBT003


@given(drawn=runs(), size=st.integers(1, 4), below=st.integers(0, 60))
def test_more_blocks_than_may_be_kept_are_given_up_and_said_to_be(
    drawn: tuple[OffsetPair, list[Run], OffsetPair], size: int, below: int
) -> None:
    """Below the map an answer is given only where the other log starts further on anyway."""
    with small_blocks(size), patch.object(offset_map, "BLOCKS_MAX", 2):
        offsets = made(*drawn)
        offsets.drop_below(0, 0)
        assert len(offsets.sealed) <= 2
        check(KnownOffsets(offsets, True, offsets.end, below, below), pairs_of(drawn[1]))  # noqa: FBT003


@given(
    drawn=runs(), sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)), share=st.integers(0, 25), mixed=st.randoms()
)
def test_blocks_of_two_writers_make_one_map(
    drawn: tuple[OffsetPair, list[Run], OffsetPair], sizes: tuple[int, int], share: int, mixed: object
) -> None:
    """One knew only the first runs, cut another way; in any order, and beside what is known already."""
    begin, found, _ = drawn
    blocks: list[Block] = []
    for size, some in zip(sizes, (found[:share], found), strict=True):
        with small_blocks(size):
            writer = OffsetMap.of(begin, some)
            blocks += [*writer.sealed, writer.open_block()]
    mixed.shuffle(blocks)  # type: ignore[attr-defined] # hypothesis's own Random
    with small_blocks(sizes[0]):
        known = OffsetMap.of(begin, found[: share // 2])
        known.restore(blocks)
        check(KnownOffsets(known, True, known.end, 0, 0), pairs_of(found))  # noqa: FBT003
        assert known.end == OffsetMap.of(begin, found).end


@given(drawn=runs(), damage=st.integers(0, 1000))
def test_packed_runs_are_read_back_or_refused(drawn: tuple[OffsetPair, list[Run], OffsetPair], damage: int) -> None:
    """Whatever byte is lost. A block may reach beyond its last run, on the target alone; never end before it does."""
    begin, found, _ = drawn
    packed = pack(begin, found)
    end = OffsetPair(found[-1].source_end, found[-1].target_end) if found else begin
    assert unpack(Block(begin, end, packed)) == found
    at = damage % len(packed)
    with pytest.raises(CorruptRecords):
        unpack(Block(begin, end, packed[:at]))
    assert unpack(Block(begin, OffsetPair(end.source, end.target + 1), packed)) == found
    for wrong in (OffsetPair(end.source + 1, end.target), OffsetPair(end.source, end.target - 1)):
        with pytest.raises(CorruptRecords):
            unpack(Block(begin, wrong, packed))


@given(drawn=runs(), ahead=st.integers(1, 50))
def test_a_block_tells_up_to_where_nothing_more_was_copied(
    drawn: tuple[OffsetPair, list[Run], OffsetPair], ahead: int
) -> None:
    """Whoever reads it goes on behind that, and what is copied later is found behind it."""
    begin, found, _ = drawn
    writer = OffsetMap.of(begin, found)
    source, target = writer.last_run_end
    known = OffsetMap(begin)
    known.restore([*writer.sealed, writer.open_block(target_end=target + ahead)])
    assert known.end == OffsetPair(source, target + ahead)
    assert list(known.runs()) == list(writer.runs())
    writer.pass_over(OffsetPair(source, target + ahead))
    writer.add(Run(source, target + ahead, 3))
    known.restore([*writer.sealed, writer.open_block()])
    assert list(known.runs()) == list(writer.runs())


@given(
    st.lists(st.one_of(st.tuples(st.just("copy"), st.integers(1, 5)), st.tuples(st.just("skip"), st.integers(1, 4))))
)
def test_a_track_tells_only_what_was_acknowledged(steps: list[tuple[str, int]]) -> None:
    """Queued ahead: records and offsets left out; then the target's end moves by one record at a time."""
    track = Track(OffsetMap(OffsetPair(0, 0)), mapped=True)
    pairs: list[OffsetPair] = []
    source = 0
    for kind, count in steps:
        if kind == "skip":
            source += count
            track.skip(source, count)
        else:
            pairs += [OffsetPair(source + at, len(pairs) + at) for at in range(count)]
            source += count
    for acked in range(1, len(pairs) + 1):
        track.land(acked)
        check(KnownOffsets(track.offsets, True, track.acked, 0, 0), pairs[:acked])  # noqa: FBT003
        assert translate(KnownOffsets(track.offsets, True, track.acked, 0, 0), source + 1).offset is None  # noqa: FBT003
