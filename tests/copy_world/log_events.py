"""What happens to logs, on the source and on the target: appends, elections, retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.model.spec import Offsets
from tests.copy_world.lies import LIES, LIES_SEEN_BESIDE_HOLES
from tests.copy_world.source_log import HOUR_MS
from tests.copy_world.steps import on_its_way, up
from tests.copy_world.target_log import ALIEN_RECORD, EXPIRY_MS

if TYPE_CHECKING:
    from tests.copy_world.steps import Pick
    from tests.copy_world.world import World

ODD = ("control", "control", "hole", "gap", "end", "append_time", "old_magic", "aborted")


# -- the source -----------------------------------------------------------------------------------------------------


def _timestamp(world: World, pick: Pick) -> int:
    age = (0, 0, 1_000, 23 * HOUR_MS, 2 * EXPIRY_MS, 30 * EXPIRY_MS)[pick(6)]
    return world.now_ms - age


def append_fresh(world: World, pick: Pick) -> None:
    """Append a batch stamped now."""
    world.source.append(1 + pick(3), world.now_ms, "transactional" if pick(8) == 1 else "")


def append_old(world: World, pick: Pick) -> None:
    """Append a batch with record times that the broker forgets at once, or hardly remembers."""
    world.source.append(1 + pick(3), _timestamp(world, pick))


def append_odd(world: World, pick: Pick) -> None:
    """Append a batch that cannot be passed on as it is.

    This is an assumption: a cleaner takes nothing of what an unclean election brought before anybody has compared it.
    Then nothing is left to tell.
    """
    count, odd = 1 + pick(3), ODD[pick(len(ODD))]
    if odd in {"gap", "hole", "end"} and world.source.truncated:
        odd = "control"
    # Where no cleaner works any more, it left no end without a record.
    world.source.append(count, world.now_ms, "gap" if odd == "end" and not world.compacted else odd)


def append_by_a_flow(world: World, pick: Pick) -> None:
    """Let another flow append a batch to the source."""
    if world.shared:
        world.source.append(1 + pick(3), _timestamp(world, pick), "by_a_flow")


def lie(world: World, pick: Pick) -> None:
    """Let the next answer of the source be spoiled on its way."""
    lies = LIES_SEEN_BESIDE_HOLES if world.compacted else LIES
    world.current.lie = (lies[pick(len(lies))], pick(12))


def append_too_large(world: World, pick: Pick) -> None:
    """Append a batch that cannot be copied."""
    world.source.append(1 + pick(3), world.now_ms, "too_large")


def bump_source_epoch(world: World, _pick: Pick) -> None:
    """Elect a source leader cleanly."""
    world.source.bump_epoch()


def retain(world: World, pick: Pick) -> None:
    """Let retention move the source's start; before the first attach that would be a seed's matter."""
    begun = world.current.active or world.late or world.offsets is Offsets.MAPPED
    if begun and world.source.batches:
        _keep_what_markers_hide(world, world.source.batches[pick(len(world.source.batches))].header.next_offset)


def _keep_what_markers_hide(world: World, offset: int) -> None:
    """Move the source's start; where surplus markers may stand, not over a record that was not copied.

    This is an assumption: a marker too many on the target stands for the lost record, and nothing tells any more.
    So is that retention does not take what an unclean election brought before anybody has compared it.
    """
    if world.source.truncated:
        return
    world.source.delete_records(min(offset, world.current.next_to_copy()) if world.current.haunted else offset)


def truncate(world: World, pick: Pick) -> None:
    """Elect a source leader uncleanly, in a moment when nothing of the lost history is on its way.

    This is an assumption: a repeat of the same sequences is acknowledged whatever its content (KAFKA_FACTS K5), so a
    batch of the lost history that is still on its way when another daemon writes the new one cannot be told from it.
    Nor does a daemon notice that has read nothing yet, and has no leader epoch that it could name; nor anybody where
    others write to the target, and retention took all that was copied: there is nothing to compare.
    """
    if (
        world.shared
        and world.current.active
        and not any(offset >= world.target.start for offset, _ in world.current.copied())
    ):
        return
    unread = any(daemon.copy.is_copying() and daemon.copy.reading.last_epoch < 0 for daemon in up(world))
    if world.source.batches and not on_its_way(world) and not unread and not world.current.given_up:
        world.source.truncate(pick(len(world.source.batches)))


def recreate(world: World, _pick: Pick) -> None:
    """Delete the source's topic and create it again."""
    for each in world.partitions:
        each.source.recreate()


# -- the target -----------------------------------------------------------------------------------------------------


def commit(world: World, pick: Pick) -> None:
    """Let the target's replicas follow."""
    world.target.commit((1, 2, None)[pick(3)])


def change_leader(world: World, pick: Pick) -> None:
    """Elect a target leader that has some of the tail."""
    world.target.change_leader(pick(6), 1 + pick(5), world.now_ms)


def expire(world: World, _pick: Pick) -> None:
    """Sweep producer state by record time."""
    world.target.expire(world.now_ms)


def write_alien(world: World, _pick: Pick) -> None:
    """Let someone else write to the target."""
    world.current.alien = True
    world.target.append_alien(ALIEN_RECORD, world.now_ms)


def write_beside(world: World, _pick: Pick) -> None:
    """Let an application write to the target, where that is as it should be."""
    if world.shared:
        world.target.append_alien(ALIEN_RECORD, world.now_ms)


def ghost(world: World, pick: Pick) -> None:
    """Let markers of an earlier fill land late or twice: beyond what any wait for them assumes."""
    if world.target.fill_epoch and world.source.start <= world.current.next_to_copy():
        world.current.haunted = True
        world.target.fill(world.target.term, world.target.fill_epoch, 1 + pick(2), world.now_ms, lambda *_: None)


def deny_fills(world: World, pick: Pick) -> None:
    """Take the right to write markers away, or give it back."""
    world.markers_denied = not world.markers_denied
    world.coordinator.denies = world.markers_denied and not pick(2)


def retain_target(world: World, pick: Pick) -> None:
    """Let retention move the target's start.

    This is an assumption where others write there, too: not over all that was copied of a history that the source lost,
    before anybody has compared it. Then nothing is left to tell.
    """
    if world.shared and world.source.truncated:
        return
    world.target.retain_from(pick(world.target.log_end + 1))


def retain_copied(world: World, pick: Pick) -> None:
    """Let retention move both starts over what is copied, as it does where both sides keep pace."""
    if world.current.active and not world.source.truncated:
        world.source.delete_records(world.current.next_to_copy() - pick(3))
        world.target.retain_from(world.target.log_end - pick(3))


def delete_records(world: World, pick: Pick) -> None:
    """Let an administrator move the source's start, into a batch perhaps."""
    if world.current.active or world.late or world.offsets is Offsets.MAPPED:
        _keep_what_markers_hide(world, pick(world.source.end + 1))
