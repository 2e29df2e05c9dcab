"""How consumer groups follow: what is written to the target, when it may be, and why something is left alone.

Pure: what both sides hold and what was written before in, what to write and what to say out. `engine.groups.sync` does
the I/O. The rules:

- **Barrier.** Commits are applied only once every mirror of the flow has passed the source's ends that were observed
  *after* the commits were read. Whatever a group's work had produced by then lies below those ends, so that on the
  target a group never stands ahead of its own output.
- **Both ways.** The target follows forward and backward (a reset) while its value is one that we wrote. A value that
  was never ours is taken over where ours lies further on (as MirrorMaker 2 does), and left alone where it does not.
- **Exact or not at all.** An offset without a place on the target is held back, never guessed.
- **Members own their group.** A group with members on the target is left alone; so is one whose value there was
  changed. To hand it back, its offsets are deleted on the target.
- **Renewal.** Brokers forget the commits of groups without members after `offsets.retention.minutes` (7 days): what
  did not change is written again each day. What the source forgets is not renewed, and never deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from replicator.errors import BugError
from replicator.model.groups import Committed, GroupKind, GroupPartition, GroupState
from replicator.model.names import TopicPartition
from replicator.model.translation import TranslationState

RENEW_AFTER_MS = 24 * 3_600_000

_WORST_FIRST = (
    GroupState.REFUSED,
    GroupState.UNSUPPORTED,
    GroupState.NOT_TRANSLATED,
    GroupState.CHANGED_ON_TARGET,
    GroupState.ACTIVE_ON_TARGET,
    GroupState.WAITING,
    GroupState.GONE_ON_SOURCE,
    GroupState.IN_STEP,
)


class Ours(NamedTuple):
    """What we wrote last for one partition, recorded *before* it was written.

    Attributes:
        offset: The value.
        before: What stood there when it was decided, None for nothing or where the write is known to stand. Until
            then either may stand there, and both are ours.
        written_ms: When (Unix, ms).
    """

    offset: int
    before: int | None
    written_ms: int


class Place(NamedTuple):
    """Where a committed offset stands on the target.

    Attributes:
        state: What the translation is worth.
        offset: The target's offset, None where it has none.
        end_offset: Where what is replicated ends on the target, told where the commit lies beyond it.
        beyond: By how many source offsets it lies beyond.
        detail: The same in words.
    """

    state: TranslationState
    offset: int | None
    end_offset: int | None = None
    beyond: int = 0
    detail: str | None = None

    @property
    def reached(self) -> int | None:
        """The target's offset, or where what is replicated ends if that comes first."""
        return self.end_offset if self.offset is None else self.offset


@dataclass(frozen=True, slots=True)
class Facts:
    """One partition of one group.

    Attributes:
        source: What it committed on the source, None where the source does not know it any more.
        place: Where that stands on the target, None with it.
        target: What stands on the target now.
        ours: What we wrote last.
    """

    source: Committed | None
    place: Place | None
    target: Committed | None
    ours: Ours | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done about one partition.

    Attributes:
        state: How the target will stand once `write` is done.
        write: What to commit on the target, None for nothing.
        detail: Why it is held back.
        cut: By how many source offsets less is written than was committed (`clamp`).
    """

    state: GroupState
    write: Committed | None = None
    detail: str | None = None
    cut: int = 0


def decide(facts: Facts, *, active: bool, now_ms: int, clamp: bool = False) -> Verdict:
    """Return what is done about one partition.

    Args:
        facts: The partition.
        active: Whether the group has members on the target.
        now_ms: The time (Unix, ms).
        clamp: Whether a commit beyond what is replicated becomes the replicated end, as at a failover, where no more
            will come. Otherwise it is held back.
    """
    source, place, target = facts.source, facts.place, facts.target
    if source is None or place is None:
        return Verdict(GroupState.GONE_ON_SOURCE, detail="the source does not know it any more; not renewed")
    if active:
        return Verdict(GroupState.ACTIVE_ON_TARGET, detail="the group has members on the target")
    offset = place.reached if clamp else place.offset
    if offset is None:
        return Verdict(GroupState.NOT_TRANSLATED, detail=place.detail or place.state.value)
    cut = place.beyond if place.offset is None else 0
    # The leader epoch means something on its own cluster only; elsewhere it would tell of a truncation.
    wanted = Committed(offset, source.metadata)
    if target is not None and not _may_replace(target, wanted, facts.ours):
        return Verdict(GroupState.CHANGED_ON_TARGET, detail=_changed(target, wanted, facts.ours))
    return Verdict(GroupState.IN_STEP, wanted if _is_due(target, wanted, facts.ours, now_ms) else None, cut=cut)


def _may_replace(target: Committed, wanted: Committed, ours: Ours | None) -> bool:
    if target.offset == wanted.offset:
        return True
    if ours is None:
        return wanted.offset > target.offset
    return target.offset in {ours.offset, ours.before}


def _changed(target: Committed, wanted: Committed, ours: Ours | None) -> str:
    if ours is None:
        return f"{target.offset} was committed there by somebody else, ahead of {wanted.offset}"
    return f"{target.offset} was committed there by somebody else, {ours.offset} was ours"


def _is_due(target: Committed | None, wanted: Committed, ours: Ours | None, now_ms: int) -> bool:
    if target is None or ours is None or ours.offset != wanted.offset:
        return True
    if (target.offset, target.metadata) != (wanted.offset, wanted.metadata):
        return True
    return now_ms - ours.written_ms >= RENEW_AFTER_MS


def recorded(
    known: Mapping[TopicPartition, Ours],
    target: Mapping[TopicPartition, Committed],
    writes: Mapping[TopicPartition, Committed],
    now_ms: int,
) -> dict[TopicPartition, Ours]:
    """Return what is recorded before `writes` are made, by names on the target.

    What is known to stand needs no second value any more. What neither stands nor is written is forgotten.
    """
    kept = {
        where: ours._replace(before=None) if _stands(target.get(where), ours) else ours
        for where, ours in known.items()
        if where in writes or where in target
    }
    for where, one in writes.items():
        there = target.get(where)
        kept[where] = Ours(one.offset, None if there is None or there.offset == one.offset else there.offset, now_ms)
    return kept


def _stands(target: Committed | None, ours: Ours) -> bool:
    return target is not None and target.offset == ours.offset


def reread(place: Place | None, target: Committed | None) -> int | None:
    """Return how many offsets would be read again if the target took over now; None where it cannot be told.

    Without a commit on the target its consumer's own setting decides (`auto.offset.reset`): unknown too.
    """
    if place is None or target is None or place.reached is None:
        return None
    return max(0, place.reached - target.offset)


def worst(partitions: Iterable[GroupPartition]) -> GroupState:
    """Return the state of a group by those of its partitions; one without any is in step."""
    states = {partition.state for partition in partitions}
    return next((state for state in _WORST_FIRST if state in states), GroupState.IN_STEP)


# -- the barrier ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """What the groups of the source had committed at one time.

    Attributes:
        taken_ms: When reading began (Unix, ms).
        began: The same by the monotonic clock, in seconds.
        ended: When the last answer had come, by the monotonic clock.
        kinds: What kind each group is.
        commits: Per group, what it had committed.
    """

    taken_ms: int
    began: float
    ended: float
    kinds: Mapping[str, GroupKind]
    commits: Mapping[str, Mapping[TopicPartition, Committed]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A reading, and the ends that every mirror has to pass before it may be applied."""

    reading: Reading
    ends: Mapping[TopicPartition, int]


class Barrier:
    """Holds at most one reading until its ends are passed; later ones are taken only after it.

    So each reading is applied after a bounded wait, however fast the source grows, and memory holds two.
    """

    def __init__(self) -> None:
        self.waiting: Waiting | None = None

    def offer(self, reading: Reading, ends: Mapping[TopicPartition, int], ends_began: float) -> None:
        """Take a reading with the ends that were observed after it, or narrow what waits already by them.

        Args:
            reading: Commits.
            ends: High watermarks of every partition that the flow means: a transaction's records lie below it before
                its markers are written, while the last stable offset passes them later than the commit shows.
            ends_began: When the first of them was asked for, by the monotonic clock.

        Raises:
            BugError: The ends are older than the commits: they would promise nothing.
        """
        if ends_began < reading.ended:
            raise BugError("the source's ends were observed before its groups were read")
        if self.waiting is None:
            self.waiting = Waiting(reading, dict(ends))
            return
        # A log that was truncated, or is gone, has to be passed as far as it still goes.
        narrowed = {where: min(end, ends[where]) for where, end in self.waiting.ends.items() if where in ends}
        self.waiting = replace(self.waiting, ends=narrowed)

    def passed(self) -> Reading | None:
        """Note that every end was passed; return the reading that may be applied now."""
        waiting, self.waiting = self.waiting, None
        return waiting.reading if waiting is not None else None
