"""Holding at markers, over any log and any responses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from replicator.model.batch import BatchHeader
from tests.unit.core.hold_rig import START, Rig, header, marker


class Step(NamedTuple):
    """One answer: how many batches, whether all lands before the next, whether the episode ends behind it."""

    batches: int
    lands: bool
    breaks: bool


ENTRIES = st.tuples(st.sampled_from(["data", "marker", "empty", "hole"]), st.integers(5, 7), st.integers(1, 3))
STEPS = st.builds(Step, st.integers(1, 4), st.booleans(), st.integers(0, 5).map(lambda each: each == 0))


def laid_out(entries: Sequence[tuple[str, int, int]]) -> list[BatchHeader]:
    """Return a log of these entries, and a batch of records as its last."""
    log = []
    offset = START
    for kind, producer, span in [*entries, ("data", 5, 1)]:
        if kind == "data":
            log.append(header(offset, span, producer_id=producer))
        elif kind == "marker":
            log.append(marker(offset, producer))
        elif kind == "empty":
            log.append(header(offset, span, record_count=0))
        offset += 1 if kind == "marker" else span
    return log


def copied(log: Sequence[BatchHeader], steps: Sequence[Step], rig: Rig) -> list[tuple[int, int]]:
    """Copy a log in these steps, over and over; return the markers that were asked for, in order."""
    asked: list[tuple[int, int]] = []
    end = log[-1].next_offset
    for each in list(steps) * 2 + [Step(2, lands=True, breaks=False)] * (3 * len(log)):
        copy = rig.copy
        if copy.wants_more(1 << 20):
            rig.read(*[one for one in log if one.next_offset > copy.reading.next_offset][: each.batches])
        if each.lands:
            rig.land()
        if (at := copy.held_at) is not None and (producer := copy.held_producer_id) is not None:
            assert copy.acked_offset == at
            asked.append((at, producer))
            assert copy.go_on(at)
        if each.breaks:
            copy.settle("why", doubtful=False)
            rig.attach()
    assert rig.copy.acked_offset == end
    return asked


def spread(landed: Sequence[tuple[str, int, int]]) -> list[tuple[str, int]]:
    """Return what stands at each target offset."""
    return [(kind, offset) for kind, first, length in landed for offset in range(first, first + length)]


@given(entries=st.lists(ENTRIES, max_size=12), steps=st.lists(STEPS, max_size=12), mapped=st.booleans())
def test_each_marker_is_asked_for_in_order_and_the_copy_is_the_same(
    entries: list[tuple[str, int, int]], steps: list[Step], *, mapped: bool
) -> None:
    """However the answers are cut, and wherever episodes end: one that ends may only ask again."""
    log = laid_out(entries)
    plain, holding = Rig(mapped=mapped, holds=False), Rig(mapped=mapped)
    assert copied(log, steps, plain) == []
    asked = copied(log, steps, holding)

    markers = [(each.base_offset, each.producer_id) for each in log if each.is_control]
    assert sorted(set(asked)) == markers
    assert all(one <= other for one, other in pairwise(asked))
    if not any(each.breaks for each in steps):
        assert asked == markers
    assert spread(holding.landed) == spread(plain.landed)
