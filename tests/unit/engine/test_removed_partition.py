"""A partition that was removed while a batch of it was on its way: the answer changes nothing any more."""

from __future__ import annotations

from tests.copy_world.home import at_home
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend, begin
from tests.copy_world.world import World


def test_a_late_answer_does_not_bring_a_removed_partition_back() -> None:
    """It told that the batch landed elsewhere: the partition that had sent it was to be attached again, for ever."""
    world = World()
    with at_home(world, 0):
        begin(world)
        (daemon,) = world.daemons
        world.source.append(1, world.now_ms)
        attend(world, daemon, *CONTROL, *FETCH)
        daemon.step_claim()
        attend(world, daemon, *CONTROL, *FETCH)
        removed = daemon.slot
        assert removed.copy.sending.outstanding == 1
        world.target.append_alien(-1, world.now_ms)
        daemon.succeed()
        world.settle()
        attend(world, daemon, *PRODUCE, commits=True)

        assert removed.copy.sending.outstanding == 0
        assert daemon.slot is not removed
        assert removed not in daemon.pump._attach_loop._not_copied
        world.kill_daemon(daemon)
