"""A daemon that stops in doubt: a request of its own, lost on the way, may arrive after another has gone on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicator.engine.copy.pump import Pump
from tests.copy_world.home import at_home
from tests.copy_world.relay import MOMENT_MS, work_on
from tests.copy_world.rules import DOUBT_MS, SOUND, Rules, Violation
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend, begin
from tests.copy_world.target_log import EXPIRY_MS
from tests.copy_world.world import World

if TYPE_CHECKING:
    from collections.abc import Collection

    from replicator.engine.copy.partitions.view import PartitionView
    from tests.copy_world.daemon import Daemon
    from tests.copy_world.network import Pipe


def _with_an_old_batch_lost(world: World) -> tuple[Daemon, Daemon, Pipe]:
    """Lose an old batch of the claim's holder on its way; return the holder, another daemon, and where it is."""
    begin(world)
    begin(world)
    holder, late = world.daemons
    for _ in range(DOUBT_MS // MOMENT_MS):
        work_on(world, holder, MOMENT_MS, *FETCH, *PRODUCE)
        attend(world, late, *CONTROL)
    world.source.append(1, world.now_ms - 2 * EXPIRY_MS)
    for _ in range(20):
        work_on(world, holder, MOMENT_MS, *FETCH)
        attend(world, late, *CONTROL)
        if any(pipe.undelivered for pipe in holder.pipes_for(*PRODUCE)):
            break
    (pipe,) = holder.pipes_for(*PRODUCE)
    pipe.lose()
    world.settle()
    assert holder.copy.doubtful
    assert not holder.copy.sending.outstanding
    return holder, late, pipe


def _handed_over(rules: Rules) -> World:
    """Hand the shard over at once; the batch arrives once its records are copied by the next holder."""
    world = World(rules=rules)
    with at_home(world, 0):
        holder, late, lost = _with_an_old_batch_lost(world)
        holder.hand_over()
        for _ in range(3):
            attend(world, holder, *CONTROL)
            world.advance(10)
        assert not holder.is_up
        for _ in range(8):
            work_on(world, late, MOMENT_MS, *FETCH, *PRODUCE)
        world.target.expire(world.now_ms)
        world.deliver(lost)
        world.target.commit()
        world.check()
        for _ in range(4 * DOUBT_MS // MOMENT_MS):
            work_on(world, late, MOMENT_MS, *FETCH, *PRODUCE)
        world.check()
    return world


async def _waits_for_answers_only(self: Pump, views: Collection[PartitionView], _seconds: float, text: str) -> bool:
    """Take what is not outstanding for what cannot take effect."""
    for view in views:
        self.pause(view, text)
    return not any(view.copy.sending.outstanding for view in views)


def test_a_claim_is_released_only_if_nothing_can_still_arrive() -> None:
    """The next holder of a claim that was released waits for nothing."""
    assert _handed_over(SOUND).target.data() == [(0, 1)]

    with pytest.raises(Violation, match="no copy of the source"):
        _handed_over(Rules(((Pump, "drain", _waits_for_answers_only),)))
