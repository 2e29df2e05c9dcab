"""What operators do, and what happens to the state topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.values import Phase
from replicator.model.status.states import Reason
from tests.copy_world.steps import CONTROL, attend, chosen, on_its_way, up

if TYPE_CHECKING:
    from tests.copy_world.steps import Pick
    from tests.copy_world.world import World


def give_up(world: World, pick: Pick) -> None:
    """Let an operator give up what a daemon stopped at, in a moment when nothing of it is on its way.

    This is an assumption where retention took what is given up: a daemon that had read it before, and still sends it
    when another has gone on behind the gap, sends another record with the same sequence (see `truncate`).
    And nothing is given up that was copied: a walk would leave it out on one side only.
    """
    daemon = chosen(world, pick)
    if daemon is None or daemon.copy.phase is not Phase.FAULTED or world.source.truncated:
        return  # what it stopped at is another history's by now
    reason, source = daemon.copy.reason, world.source
    if reason is Reason.RECORD_TOO_LARGE:
        at = daemon.copy.reading.next_offset
        sizes = [batch.header for batch in source.batches if batch.header.base_offset <= at < batch.header.next_offset]
        ranges = [(header.base_offset, header.next_offset) for header in sizes]
    elif reason is Reason.OVERTAKEN_BY_RETENTION and not daemon.noted_here.lost_place and not on_its_way(world):
        ranges = [(min(world.current.next_to_copy(), source.start), source.start)]
    else:
        return
    if any(first < world.current.next_to_copy() for first, _ in ranges):
        ranges = []
    for first, end in ranges:
        world.current.give_up(first, end)
    for each in up(world):
        if each.copy.reason is reason:
            each.resolve()


def accept(world: World, pick: Pick) -> None:
    """Let an operator keep a target that is no copy any more, and go on behind it, or begin anew; nobody copies."""
    daemon = chosen(world, pick)
    accepted = {Reason.SOURCE_TRUNCATED, Reason.CONTENT_MISMATCH, Reason.FOREIGN_WRITER}
    if (
        daemon is None
        or daemon.copy.phase is not Phase.FAULTED
        or daemon.copy.reason not in accepted
        or on_its_way(world)
        or any(each.copy.is_copying() for each in up(world))
        or world.target.high_watermark != world.target.log_end
        or world.source.incarnation
    ):
        return
    if pick(2) and world.count == 1:
        world.current.begin_anew()
    else:
        world.current.accept()
    for each in up(world):
        each.resolve()


def persist(world: World, pick: Pick) -> None:
    """Let a daemon write blocks of its map, if it holds the claim; mostly they arrive."""
    daemon = chosen(world, pick)
    if daemon is not None:
        daemon.persist()
        world.settle()
        if pick(4):
            attend(world, daemon, *CONTROL)
        world.check_blocks()


def break_state(world: World, _pick: Pick) -> None:
    """Let the state topic be out of reach, or come back."""
    world.state.is_down = not world.state.is_down
