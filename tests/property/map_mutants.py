"""Rules about offsets that are not the source's, broken one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from replicator.core.copy.attaching.facts import Remap
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading.pieces import Fill, Piece
from replicator.core.copy.track import Track
from replicator.core.copy.values import Ending
from replicator.core.offsets.offset_map import Block, OffsetMap, OffsetPair
from replicator.core.offsets.pairing import Span, reading_from, spans_of
from replicator.engine.copy import pump
from replicator.engine.copy.attaching import examiner, facts
from replicator.engine.copy.partitions.live_maps import OffsetMaps, mapping_of
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.logs import opening
from replicator.engine.logs.ranges import walking
from replicator.model.batch import CONTROL_BIT, BatchHeader
from replicator.model.spec import Offsets
from tests.copy_world.rules import Rules


def copied_by(copy_type: type[PartitionCopy]) -> Rules:
    """Copy with another machine."""
    return Rules(((pump, "PartitionCopy", copy_type),))


class _ReadOnce(OffsetMaps):
    """Reads a map once."""

    def refresh(self, slot: Slot) -> bool:
        """Keep what was read first."""
        return slot.copy.track is None and super().refresh(slot)


class _AnyGeneration(OffsetMaps):
    """Believes every block there is."""

    def _blocks(self, slot: Slot, generation: int) -> list[Block]:
        return [block for each in range(generation + 1) for block in super(_AnyGeneration, self)._blocks(slot, each)]


class _ForgetsGivenUp(OffsetMaps):
    """Takes new ranges that were given up for no news: what was walked before stays."""

    def refresh(self, slot: Slot) -> bool:
        """Keep the map."""
        track, record = slot.copy.track, slot.mapping.record
        changed = super().refresh(slot)
        if changed and record == slot.mapping.record:
            slot.copy.track = track
            return False
        return changed


class _HealsTooEarly(PartitionCopy):
    """Lets surplus markers stand for a hole that is shorter than they are many, and tells nobody."""

    __slots__ = ()

    def fill(self, fill: Fill) -> None:
        """Leave it out."""
        track = self.track
        if track is not None and not track.mapped and track.shift > fill.length:
            self.acked_offset = track.skip(fill.first_offset + fill.length, fill.length)
            return
        super().fill(fill)


class _HealsAtAnyHole(PartitionCopy):
    """Looks for a place with fewer markers at a hole that is too short: the attach finds nothing to change."""

    __slots__ = ()

    def offer(self, *given: Any) -> tuple[list[Piece], Ending | None]:
        """End the episode."""
        pieces, ending = super().offer(*given)
        short = (at for at, piece in enumerate(pieces) if isinstance(piece, Fill) and self.shift > piece.length)
        at = next(short, None)
        return (pieces, ending) if ending is not None or at is None else (pieces[:at], self.settle("a hole"))


def _counts_markers(header: BatchHeader, *given: Any, **named: Any) -> Iterator[Span]:
    if header.is_control:
        counted = header.last_offset_delta + 1
        header = header._replace(attributes=header.attributes & ~CONTROL_BIT, record_count=counted)
    return spans_of(header, *given, **named)


def _counts_aborted(header: BatchHeader, *given: Any, aborted: bool = False, **named: Any) -> Iterator[Span]:
    del aborted
    return spans_of(header, *given, **named)


def _counts_given_up(header: BatchHeader, *given: Any, **named: Any) -> Iterator[Span]:
    return spans_of(header, *given, **named | {"given_up": ()})


def _counts_whole_batches(header: BatchHeader, begin: int, end: int, *given: Any, **named: Any) -> Iterator[Span]:
    del begin
    return spans_of(header, 0, end, *given, **named)


def _begins_one_late(place: OffsetPair, given_up: Sequence[tuple[int, int]]) -> int:
    return reading_from(place, given_up) + 1


def _begins_within_the_gap(place: OffsetPair, given_up: Sequence[tuple[int, int]]) -> int:
    del given_up
    return place.source


async def looks_at_nothing(*_: object) -> None:
    """Find nothing."""


async def _counts_all(*given: Any, **named: Any) -> Any:
    """Know of nothing that was given up."""
    return await opening.spans_in(*given, **named | {"given_up": ()})


def _log_of_all(*given: Any, **named: Any) -> walking.Log:
    """Know of nothing that was given up."""
    return replace(walking.Log(*given, **named), given_up=())


def _judges_all(slot: Slot, *given: Any) -> Any:
    """Compare what was taken over."""
    mapping = mapping_of(slot, *given)
    return mapping if mapping is None else replace(mapping, judged_from=0)


class _ReadsNothingAfterTheLogs(OffsetMaps):
    """Does not look whether a map has changed while the logs were read."""

    async def read_to_end(self) -> None:
        """Read nothing."""

    async def refresh_from_end(self, slot: Slot) -> bool:
        """Read all the same."""
        await self._log.read_to_end()
        return await super().refresh_from_end(slot)


class _RecordsNothing(OffsetMaps):
    """Goes on with a new difference that nobody else knows of."""

    async def remap(self, slot: Slot, remap: Remap) -> None:
        """Change only what is in memory."""
        offsets = OffsetMap(OffsetPair(0, 0)) if slot.copy.track is None else slot.copy.track.offsets
        offsets.go_straight(remap.place)
        offsets.pass_over(remap.place)
        slot.copy.track = Track(offsets, mapped=remap.mapped)


MAPPED, AUTO = Offsets.MAPPED, Offsets.AUTO
MAP_MUTANTS = {
    "map not refreshed before an attach": (Rules(maps_type=_ReadOnce), AUTO),
    "map not read once more after the logs": (Rules(maps_type=_ReadsNothingAfterTheLogs), MAPPED),
    "remap not recorded before copying": (Rules(maps_type=_RecordsNothing), AUTO),
    "displaced batch not looked at": (Rules(((examiner, "what_displaced", looks_at_nothing),)), AUTO),
    "surplus markers used up by a shorter hole, unrecorded": (copied_by(_HealsTooEarly), AUTO),
    "an attach at each hole, however short": (copied_by(_HealsAtAnyHole), AUTO),
    "walk counts markers": (Rules(((opening, "spans_of", _counts_markers),)), MAPPED),
    "walk counts aborted records": (Rules(((opening, "spans_of", _counts_aborted),)), MAPPED),
    "walk counts what was given up": (Rules(((opening, "spans_of", _counts_given_up),)), MAPPED),
    "walk counts what lies before its beginning": (Rules(((opening, "spans_of", _counts_whole_batches),)), MAPPED),
    "walk begins one offset late": (Rules(((walking, "reading_from", _begins_one_late),)), MAPPED),
    "walk begins within a gap that was given up": (Rules(((walking, "reading_from", _begins_within_the_gap),)), MAPPED),
    "an attach does not know what was given up": (
        Rules(((facts, "spans_in", _counts_all), (facts, "Log", _log_of_all))),
        AUTO,
    ),
    "what was given up since the walk is no news": (Rules(maps_type=_ForgetsGivenUp), MAPPED),
    "an offset left out is never looked at again": (
        Rules(((facts, "stepped_back", lambda _slot, mapping, _end: mapping),)),
        MAPPED,
    ),
    "blocks of another generation believed": (Rules(maps_type=_AnyGeneration), MAPPED),
    "what was taken over compared": (Rules(((facts, "mapping_of", _judges_all),)), MAPPED),
}
