"""How consumer groups follow: what is written to the target, when it may be written, and why something is left alone.

Pure: what both sides hold and what was written before go in, what to write and what to report come out.
`engine.groups.sync` does the I/O. The rules:

- **Barrier.** Commits are applied only once every mirror of the flow has passed the source's ends that were observed
  *after* the commits were read. Whatever the group had produced by then lies below those ends, so on the target a
  group is never ahead of its own output.
- **Both ways.** The target follows forward and backward (a reset) while its value is one that we wrote. A value that
  was never ours is replaced if ours is further on (as MirrorMaker 2 does), and left alone if it is not.
- **Exact or not at all.** An offset without a translation is held back, never guessed.
- **Members own their group.** A group with members on the target is left alone; so is a group whose value was changed
  there. To hand it back, delete its offsets on the target.
- **Renewal.** Brokers forget the commits of groups without members after `offsets.retention.minutes` (7 days), so
  unchanged commits are written again each day. What the source forgets is not renewed, and never deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from replicator.errors import BugError
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import TranslationState
from replicator.model.status.groups import Committed, GroupKind, GroupPartition, GroupState

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


class WrittenCommit(NamedTuple):
    """What we wrote last for one partition, recorded *before* it was written.

    Attributes:
        offset: The value.
        before: The value on the target when this was decided; None if there was none, or once the write is known to
            have succeeded. Until then either value may be there, and both are ours.
        written_ms: When (Unix, ms).
    """

    offset: int
    before: int | None
    written_ms: int


class TranslatedCommit(NamedTuple):
    """The target offset for a committed offset.

    Attributes:
        state: How far the translation can be trusted.
        offset: The target's offset; None if there is none.
        end_offset: The target offset of the replicated end, for a commit that lies beyond it.
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
        """The target's offset, or the replicated end if that comes first."""
        return self.end_offset if self.offset is None else self.offset


@dataclass(frozen=True, slots=True)
class GroupSyncFacts:
    """One partition of one group.

    Attributes:
        source: The commit on the source; None if the source does not know it any more.
        translated: Its target offset; None if `source` is.
        target: The current commit on the target.
        ours: What we wrote last.
    """

    source: Committed | None
    translated: TranslatedCommit | None
    target: Committed | None
    ours: WrittenCommit | None


@dataclass(frozen=True, slots=True)
class CommitVerdict:
    """What is done about one partition.

    Attributes:
        state: The state of the target once `write` is done.
        write: What to commit on the target; None for nothing.
        detail: Why it is held back.
        cut: How many source offsets below the source's commit the written one is (`clamp`).
    """

    state: GroupState
    write: Committed | None = None
    detail: str | None = None
    cut: int = 0


def decide(facts: GroupSyncFacts, *, active: bool, now_ms: int, clamp: bool = False) -> CommitVerdict:
    """Return what is done about one partition.

    Args:
        facts: The partition.
        active: Whether the group has members on the target.
        now_ms: The time (Unix, ms).
        clamp: Whether a commit beyond what is replicated becomes the replicated end, as at a failover, when no more
            will come. Otherwise it is held back.
    """
    source, translated, target = facts.source, facts.translated, facts.target
    if source is None or translated is None:
        return CommitVerdict(GroupState.GONE_ON_SOURCE, detail="the source does not know it any more; not renewed")
    if active:
        return CommitVerdict(GroupState.ACTIVE_ON_TARGET, detail="the group has members on the target")
    offset = translated.reached if clamp else translated.offset
    if offset is None:
        return CommitVerdict(GroupState.NOT_TRANSLATED, detail=translated.detail or translated.state.value)
    cut = translated.beyond if translated.offset is None else 0
    # A leader epoch is meaningful on its own cluster only; elsewhere it would look like a truncation.
    wanted = Committed(offset, source.metadata)
    if target is not None and not _may_replace(target, wanted, facts.ours):
        return CommitVerdict(GroupState.CHANGED_ON_TARGET, detail=_changed(target, wanted, facts.ours))
    return CommitVerdict(GroupState.IN_STEP, wanted if _is_due(target, wanted, facts.ours, now_ms) else None, cut=cut)


def _may_replace(target: Committed, wanted: Committed, ours: WrittenCommit | None) -> bool:
    if target.offset == wanted.offset:
        return True
    if ours is None:
        return wanted.offset > target.offset
    return target.offset in {ours.offset, ours.before}


def _changed(target: Committed, wanted: Committed, ours: WrittenCommit | None) -> str:
    if ours is None:
        return f"{target.offset} was committed there by somebody else, ahead of {wanted.offset}"
    return f"{target.offset} was committed there by somebody else, {ours.offset} was ours"


def _is_due(target: Committed | None, wanted: Committed, ours: WrittenCommit | None, now_ms: int) -> bool:
    if target is None or ours is None or ours.offset != wanted.offset:
        return True
    if (target.offset, target.metadata) != (wanted.offset, wanted.metadata):
        return True
    return now_ms - ours.written_ms >= RENEW_AFTER_MS


def recorded(
    known: Mapping[TopicPartition, WrittenCommit],
    target: Mapping[TopicPartition, Committed],
    writes: Mapping[TopicPartition, Committed],
    now_ms: int,
) -> dict[TopicPartition, WrittenCommit]:
    """Return what is recorded before `writes` are made, by names on the target.

    A value that was seen on the target no longer needs the one before. An entry that is neither there nor written is
    forgotten.
    """
    kept = {
        where: ours._replace(before=None) if _stands(target.get(where), ours) else ours
        for where, ours in known.items()
        if where in writes or where in target
    }
    for where, one in writes.items():
        there = target.get(where)
        kept[where] = WrittenCommit(
            one.offset, None if there is None or there.offset == one.offset else there.offset, now_ms
        )
    return kept


def _stands(target: Committed | None, ours: WrittenCommit) -> bool:
    return target is not None and target.offset == ours.offset


def reread(translated: TranslatedCommit | None, target: Committed | None) -> int | None:
    """Return how many offsets would be read again if the target took over now; None if unknown.

    Without a commit on the target, its consumer's own setting decides (`auto.offset.reset`): unknown, too.
    """
    if translated is None or target is None or translated.reached is None:
        return None
    return max(0, translated.reached - target.offset)


def worst(partitions: Iterable[GroupPartition]) -> GroupState:
    """Return the state of a group, from its partitions' states; a group without partitions is in step."""
    states = {partition.state for partition in partitions}
    return next((state for state in _WORST_FIRST if state in states), GroupState.IN_STEP)


# -- the barrier ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """What the groups of the source had committed at one moment.

    Attributes:
        taken_ms: When reading began (Unix, ms).
        began: The same by the monotonic clock, in seconds.
        ended: When the last response arrived, by the monotonic clock.
        kinds: The kind of each group.
        commits: Per group, its commits.
    """

    taken_ms: int
    began: float
    ended: float
    kinds: Mapping[str, GroupKind]
    commits: Mapping[str, Mapping[TopicPartition, Committed]]


@dataclass(frozen=True, slots=True)
class PendingReading:
    """A reading, and the ends that every mirror has to pass before it may be applied."""

    reading: Reading
    ends: Mapping[TopicPartition, int]


class Barrier:
    """Holds at most one reading until its ends are passed; the next one is taken only after that.

    So each reading is applied after a bounded wait, however fast the source grows, and memory holds two.
    """

    def __init__(self) -> None:
        self.waiting: PendingReading | None = None

    def offer(self, reading: Reading, ends: Mapping[TopicPartition, int], ends_began: float) -> None:
        """Take a reading with the ends that were observed after it, or narrow the waiting one's ends by them.

        Args:
            reading: Commits.
            ends: High watermarks of every partition that the flow selects: a transaction's records lie below it before
                its markers are written, while the last stable offset passes them later than the commit shows.
            ends_began: When the first of them was asked for, by the monotonic clock.

        Raises:
            BugError: The ends are older than the commits: they would promise nothing.
        """
        if ends_began < reading.ended:
            raise BugError("the source's ends were observed before its groups were read")
        if self.waiting is None:
            self.waiting = PendingReading(reading, dict(ends))
            return
        # A log that was truncated, or is gone, has to be passed only as far as it still reaches.
        narrowed = {where: min(end, ends[where]) for where, end in self.waiting.ends.items() if where in ends}
        self.waiting = replace(self.waiting, ends=narrowed)

    def passed(self) -> Reading | None:
        """Note that every end was passed; return the reading that may be applied now."""
        waiting, self.waiting = self.waiting, None
        return waiting.reading if waiting is not None else None
