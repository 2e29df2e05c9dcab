"""A claim that is renewed by a holder who has not read that another took it: a sign of life proves nothing alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from replicator.engine.work.claim import ClaimKeeper
from replicator.errors import TimedOut
from tests.lease_world import DOUBT, MARGIN, TIMING, TTL, UID, Topic, View, run

if TYPE_CHECKING:
    from replicator.engine.state.topic.log import StateLog


class World:
    """Two daemons on one state topic, the first of which holds the claim."""

    def __init__(self) -> None:
        self.time = 100.0
        topic = Topic()
        self.views = [View(topic), View(topic)]
        self.first, self.second = (
            ClaimKeeper(cast("StateLog", view), UID, 0, name, TIMING, DOUBT, now=lambda: self.time)
            for view, name in zip(self.views, ("first", "second"), strict=True)
        )
        self.first.want(1)
        self.second.want(1)
        run(self.first.step())
        self.views[1].deliver()

    def step(self, keeper: ClaimKeeper, *, hears: bool) -> None:
        """Let one work its claim, and hear of what is there first or not."""
        if hears:
            self.views[keeper is self.second].deliver()
        run(keeper.step())

    def second_takes_it(self) -> None:
        """Let the first one be silent for a TTL."""
        self.views[1].deliver()
        self.time += TTL
        self.step(self.second, hears=True)
        assert self.second.number == 2


def test_a_holder_that_slept_does_not_renew_what_another_took() -> None:
    """Its append is taken; that it is not the holder any more it has to read."""
    world = World()
    world.step(world.first, hears=True)
    world.second_takes_it()
    world.time += 2 * DOUBT
    world.step(world.second, hears=True)
    assert world.second.effective_since() is not None

    world.step(world.first, hears=False)

    assert (world.first.number, world.first.effective_since()) == (0, None)


def test_a_holder_that_reads_nothing_has_stopped_before_another_begins() -> None:
    """Another took the claim in the moment in which a sign of life came: it was not in time for that one's reading."""
    world = World()
    world.second_takes_it()
    began = world.time
    while world.second.effective_since() is None:
        world.time += TIMING.renew_every_seconds
        world.step(world.first, hears=False)
        world.step(world.second, hears=True)
        assert None in {world.first.effective_since(), world.second.effective_since()}

    assert world.first.number == 0
    assert world.time - began < DOUBT + TTL


def test_a_claim_outlives_a_transaction_that_hangs_on_the_state_topic() -> None:
    """Nobody can read on until it ends; no other claim can be effective before a TTL and the doubt time."""
    world = World()
    world.step(world.first, hears=True)
    world.views[0].hangs = True
    began = world.time
    while world.time - began < DOUBT + TTL - MARGIN - TIMING.renew_every_seconds:
        world.time += TIMING.renew_every_seconds
        world.step(world.first, hears=False)
        assert world.first.effective_since() is not None

    world.time = began + DOUBT + TTL
    with pytest.raises(TimedOut, match="not reached"):
        world.step(world.first, hears=False)
    assert world.first.effective_since() is None

    world.views[0].hangs = False
    world.step(world.first, hears=False)
    assert world.first.effective_since() is not None


@pytest.mark.parametrize("hears", [True, False])
def test_a_claim_that_is_still_ours_is_renewed(*, hears: bool) -> None:
    """Also late, if nobody took it."""
    world = World()
    for pause in (1.0, 2.0, 3 * TTL, 1.0):
        world.time += pause
        world.step(world.first, hears=hears)
        assert world.first.effective_since() is not None
