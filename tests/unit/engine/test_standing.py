"""Where the last record of a target stands that the source has no record for any more to compare it with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.core.copy.attaching.facts import Mapping, Tail, TailPosition
from replicator.core.copy.track import Track
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair, Run
from replicator.engine.copy.attaching.displaced import tail_position_of
from replicator.engine.logs.ranges import walking
from replicator.model.batch import CONTROL_BIT, HEADER, TRANSACTIONAL_BIT
from replicator.model.spec import Isolation
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.cluster import Purpose
from tests.unit.engine.log_broker import Log
from tests.unit.engine.log_world import ZERO, World, opened, worlds

if TYPE_CHECKING:
    from replicator.engine.logs.side import Side

__all__ = ["worlds"]

AS_RECORDED, FURTHER_ON, UNPROVEN = TailPosition.AS_RECORDED, TailPosition.FURTHER_ON, TailPosition.UNPROVEN
M = -1
"""A marker."""
_ATTRIBUTES = 5


def batch(at: int, *records: int) -> bytes:
    """Return a batch from an offset on, of records that have a number each, or a marker."""
    made = [NewRecord(1_700_000_000_000, None, b"%d" % record) for record in records]
    raw = bytearray(encode(made, producer_id=100, producer_epoch=0, base_sequence=0))
    fields = list(HEADER.unpack_from(raw))
    fields[0], fields[2] = at, 3
    if records == (M,):
        fields[_ATTRIBUTES] |= CONTROL_BIT | TRANSACTIONAL_BIT
    HEADER.pack_into(raw, 0, *fields)
    return bytes(raw)


def log(start: int, end: int, *batches: bytes) -> Log:
    """Return a log."""
    return Log(list(batches), end=end, start=start)


def copied(end: int, *batches: bytes) -> Log:
    """Return a target log: ten records that stand where they should, and what comes behind them."""
    return log(0, end, batch(0, *range(10)), *batches)


async def stands(
    world: World,
    source: Log,
    target: Log,
    *,
    mapping: Mapping | None = None,
    offsets: OffsetMap | None = None,
    given_up: tuple[tuple[int, int], ...] = (),
) -> TailPosition:
    """Look at the last record of the target."""

    async def read(side: Side, held: Log) -> walking.Log:
        connection = await side.cluster.connection(1, Purpose.CONTROL)
        return walking.Log(
            side,
            connection,
            ZERO,
            held.start,
            held.end,
            isolation=Isolation.READ_UNCOMMITTED,
            given_up=given_up,
            compacted=True,
        )

    world.source.logs[ZERO], world.target.logs[ZERO] = source, target
    track = Track(offsets, mapped=False) if offsets is not None else None
    slot: Any = SimpleNamespace(copy=SimpleNamespace(track=track))
    tail = cast("Tail", SimpleNamespace(last_offset=target.end - 1))
    return await tail_position_of(
        await read(world.pump.source, source), await read(world.pump.target, target), slot, tail, mapping
    )


TWO_MARKERS = (batch(10, M), batch(11, M))
SHIFTED = copied(14, *TWO_MARKERS, batch(12, 10, 11))
"""Two records that had to stand at 10 and 11."""


@pytest.mark.parametrize(
    ("source", "target", "standing"),
    [
        pytest.param(log(9, 20, batch(12, 12)), SHIFTED, FURTHER_ON, id="another record where one of ours stands"),
        pytest.param(log(12, 20, batch(12, 12)), SHIFTED, FURTHER_ON, id="the same, the markers' place is lost"),
        pytest.param(log(9, 20, batch(11, 11)), SHIFTED, FURTHER_ON, id="a record where a marker stands"),
        pytest.param(log(12, 20, batch(12, M)), SHIFTED, FURTHER_ON, id="a marker where one of ours stands"),
        pytest.param(log(12, 20, batch(19, 19)), SHIFTED, UNPROVEN, id="nothing, and the markers' place is lost"),
        pytest.param(log(11, 20, batch(19, 19)), SHIFTED, UNPROVEN, id="nothing, and half of the place is lost"),
        pytest.param(log(9, 20, batch(19, 19)), SHIFTED, AS_RECORDED, id="holes everywhere: the cleaner's"),
        pytest.param(log(12, 20, batch(12, 10)), SHIFTED, AS_RECORDED, id="the same record at the same offset"),
        pytest.param(log(0, 20), copied(10), AS_RECORDED, id="no markers"),
        pytest.param(
            log(13, 20, batch(19, 19)),
            copied(14, batch(10, M), batch(11, 10), batch(12, M), batch(13, 11)),
            UNPROVEN,
            id="markers between all of them",
        ),
        pytest.param(
            log(9, 20, batch(10, 10)),
            copied(14, batch(10, M), batch(11, 10), batch(12, M), batch(13, 11)),
            FURTHER_ON,
            id="only the first of them tells",
        ),
        pytest.param(
            log(9, 20, batch(10, 10)),
            log(0, 14, batch(0, *range(10)), batch(12, 12, 13)),
            AS_RECORDED,
            id="what the target's cleaner took is no marker",
        ),
        pytest.param(
            log(14, 20, batch(19, 19)),
            copied(18, batch(10, M), *(batch(at, at) for at in range(11, 18))),
            AS_RECORDED,
            id="more batches behind the marker than were in flight",
        ),
        pytest.param(
            log(12, 20, batch(12, 12)),
            copied(15, *TWO_MARKERS, batch(12, 12), batch(13, M), batch(14, 13)),
            AS_RECORDED,
            id="a hole of the source behind an equal record",
        ),
    ],
)
async def test_what_the_source_has_left_tells(
    worlds: list[World], source: Log, target: Log, standing: TailPosition
) -> None:
    """Records at the same offsets, and records where markers stand; what is hidden below its start proves nothing."""
    assert await stands(await opened(worlds), source, target) is standing


async def test_markers_over_what_was_given_up_are_explained(worlds: list[World]) -> None:
    """An operator said so: the source's start lies above them for just that."""
    world, source = await opened(worlds), log(12, 20, batch(19, 19))

    assert await stands(world, source, SHIFTED, given_up=((10, 12),)) is AS_RECORDED
    assert await stands(world, source, SHIFTED, given_up=((10, 11),)) is UNPROVEN


async def test_markers_that_are_recorded_are_explained(worlds: list[World]) -> None:
    """They stand for no offset of the source; what stands behind them is compared where the map says."""
    world, offsets = await opened(worlds), OffsetMap.of(OffsetPair(0, 0), [Run(0, 0, 10)])
    offsets.pass_over(OffsetPair(10, 12))
    mapping = Mapping(OffsetPair(12, 14), mapped=False, tail_source=11)

    for source, standing in (
        (log(11, 20, batch(19, 19)), AS_RECORDED),
        (log(10, 20, batch(10, 10)), AS_RECORDED),
        (log(10, 20, batch(10, 12)), FURTHER_ON),
    ):
        assert await stands(world, source, SHIFTED, mapping=mapping, offsets=offsets) is standing


@pytest.mark.parametrize(
    "mapping",
    [
        Mapping(OffsetPair(12, 14), mapped=True, tail_source=13),
        Mapping(OffsetPair(14, 14), mapped=False, tail_source=None),
        Mapping(OffsetPair(14, 14), mapped=False, tail_source=11),
        Mapping(OffsetPair(14, 14), mapped=False, tail_source=13, judged_from=12),
        Mapping(OffsetPair(14, 14), mapped=False, tail_source=13, judged_from=0, compared_from=12),
    ],
    ids=["counted", "taken over", "below the source's start", "behind what was taken over", "compared from there on"],
)
async def test_what_is_not_compared_stops_nobody(worlds: list[World], mapping: Mapping) -> None:
    """Ordinary retention leaves nothing to compare with, and what others wrote has never been a copy."""
    source = log(12, 20, batch(19, 19))

    assert await stands(await opened(worlds), source, SHIFTED, mapping=mapping) is AS_RECORDED
