"""An acknowledgement may be that of a repeat: it does not prove that the log ends where we stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.copy_world.home import at_home
from tests.copy_world.relay import MOMENT_MS, work_on
from tests.copy_world.rules import DOUBT_MS, SOUND, Rules, Violation
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend, begin
from tests.copy_world.target_log import EXPIRY_MS
from tests.copy_world.world import World
from tests.property.test_shards_move import BELIEVES_REPEATS, KEEPS_ANY_PLACE

if TYPE_CHECKING:
    from tests.copy_world.daemon import Daemon


def _works(world: World, daemon: Daemon, *purposes: str) -> None:
    for _ in range(8):
        work_on(world, daemon, MOMENT_MS, *purposes)


def _overtaken(rules: Rules, *, odd: str, age_ms: int) -> World:
    """Let one daemon prove its place, another copy on and hand the shard over, and the first one go on from there.

    Args:
        rules: The world's.
        odd: What stands between two batches of the source; empty for nothing.
        age_ms: How old the records of the second batch are.
    """
    world = World(rules=rules)
    with at_home(world, 0):
        begin(world)
        begin(world)
        holder, late = world.daemons
        _works(world, holder)
        _works(world, late)
        if age_ms:
            world.source.append(1, world.now_ms)
            _works(world, holder, *FETCH, *PRODUCE)
            _works(world, late)
            late.pump.settle(late.slot, "looked at again, behind the first record")
            _works(world, late)
        world.source.append(1, world.now_ms)
        if odd:
            world.source.append(1, world.now_ms, odd)
        world.source.append(1, world.now_ms - age_ms)
        for _ in range(16):  # until every place of the other one is too old to be used
            _works(world, holder, *FETCH, *PRODUCE)
            attend(world, late, *CONTROL)
        world.check()
        assert world.target.log_end == world.source.end
        holder.hand_over()
        _works(world, holder)
        world.target.expire(world.now_ms)
        _works(world, late)
        assert late.claim.effective_since() is not None
        for _ in range(DOUBT_MS // 4_000):
            _works(world, late, *FETCH, *PRODUCE)
            world.check()
    return world


def test_a_hole_that_another_daemon_has_filled_is_not_filled_again() -> None:
    """The marker would stand at the end, behind all that the other one has copied since."""
    assert _overtaken(SOUND, odd="control", age_ms=0).target.data() == [(0, 1), (2, 3)]

    with pytest.raises(Violation, match=r"no copy of the source|stopped without cause"):
        _overtaken(BELIEVES_REPEATS, odd="control", age_ms=0)


def test_a_place_from_before_the_claim_is_proven_again_where_it_is_old() -> None:
    """The holder before us may have let the guard end meanwhile: what it has copied would be taken a second time."""
    assert _overtaken(SOUND, odd="", age_ms=2 * EXPIRY_MS).target.data() == [(0, 1), (1, 2), (2, 3)]

    with pytest.raises(Violation, match=r"no copy of the source|stopped without cause"):
        _overtaken(KEEPS_ANY_PLACE, odd="", age_ms=2 * EXPIRY_MS)
