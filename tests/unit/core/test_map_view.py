"""Offsets of a target as offsets of its source, for whoever compares the two."""

from __future__ import annotations

from replicator.core.offsets.map_view import IDENTICAL, MapView
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair, Run


def test_offsets_that_are_the_sources_own() -> None:
    """Nothing to translate, nothing left out."""
    assert (IDENTICAL.to_source(7), IDENTICAL.to_target(7), IDENTICAL.floor) == (7, 7, 0)
    assert not IDENTICAL.may_lack(7)


def test_a_mapped_partition_ends_where_its_map_does() -> None:
    """Beyond it nothing is known; below what was taken over nothing is compared."""
    offsets = OffsetMap.of(OffsetPair(10, 0), [Run(10, 5, 5), Run(18, 10, 4)])
    view = MapView(offsets, mapped=True, judged_from=5)

    assert [view.to_source(at) for at in (4, 5, 9, 10, 13, 14, 20)] == [10, 10, 14, 18, 21, 22, 22]
    assert [view.to_target(at) for at in (0, 12, 15, 17, 18, 22, 30)] == [5, 7, 10, 10, 10, 14, 14]
    assert view.floor == 10


def test_surplus_markers_go_on_with_the_last_difference() -> None:
    """As far as both logs go."""
    view = MapView(OffsetMap.of(OffsetPair(0, 0), [Run(0, 0, 5), Run(5, 7, 1)]))

    assert (view.to_source(9), view.to_target(7)) == (7, 9)


def test_where_others_write_the_map_alone_tells_what_is_compared() -> None:
    """Neither their records on the target nor those that the source has from elsewhere."""
    offsets = OffsetMap.of(OffsetPair(0, 2), [Run(0, 2, 2), Run(3, 6, 1)])
    view = MapView(offsets, mapped=True, others_write=True)

    assert view.is_partial
    assert [at for at in range(6) if view.may_lack(at)] == [2, 4, 5]
    assert [at for at in range(9) if view.is_foreign(at)] == [0, 1, 4, 5, 7, 8]
    assert not any(MapView(offsets, mapped=True).is_foreign(at) for at in range(9))


def test_what_was_given_up_is_not_missed() -> None:
    """From its first offset up to its end."""
    view = MapView(given_up=((3, 5), (9, 10)))

    assert [at for at in range(12) if view.may_lack(at)] == [3, 4, 9]


def test_a_log_that_begins_below_its_map() -> None:
    """What the source has below the map was not taken away by retention of the target."""
    view = MapView(OffsetMap.of(OffsetPair(12, 20), [Run(12, 20, 5)]), mapped=True, judged_from=20)
    assert (view.log_start(0, 0), view.log_start(7, 3), view.log_start(0, 15)) == (0, 3, 12)
    assert view.log_start(22, 0) == 14, "this start took offsets of the map away"
    assert IDENTICAL.log_start(7, 0) == 7
