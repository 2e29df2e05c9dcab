"""The status of groups as it is shown, made from what is on both sides and what was decided last."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from replicator.core.groups.sync import CommitVerdict, TranslatedCommit, reread, worst
from replicator.engine.groups.sides import SideView
from replicator.model.names import TopicPartition
from replicator.model.status.groups import Committed, GroupKind, GroupOutcome, GroupPartition, GroupState, GroupStatus
from replicator.model.units import format_age

if TYPE_CHECKING:
    from collections.abc import Mapping

_OURS = frozenset({GroupState.IN_STEP, GroupState.WAITING, GroupState.GONE_ON_SOURCE, GroupState.NOT_TRANSLATED})
"""States in which the target's commits are ours to keep fresh."""


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """What is known about one group. Partitions are the source's, mapped to their names on the target.

    Attributes:
        kind: The kind of group.
        partitions: The partitions that the flow mirrors.
        unmirrored: How many other partitions it has committed.
        verdicts: What was decided last.
        applied: The commits that this was decided for.
        checkpoint: When the commits that were applied last were read (monotonic); None before the first time.
    """

    kind: GroupKind
    partitions: Mapping[TopicPartition, TopicPartition]
    unmirrored: int
    verdicts: Mapping[TopicPartition, CommitVerdict]
    applied: Mapping[TopicPartition, Committed]
    checkpoint: float | None


@dataclass(frozen=True, slots=True)
class Picture:
    """A group's status without what depends on the current time."""

    bare: GroupStatus
    checkpoint: float | None
    cut: int = 0

    def status(self, now: float) -> GroupStatus:
        """Return the status at a monotonic time."""
        if self.checkpoint is None or self.bare.state not in _OURS:
            return self.bare
        return replace(self.bare, checkpoint_age_seconds=round(now - self.checkpoint, 3))


def as_last_seen(status: GroupStatus, age_seconds: float | None) -> GroupStatus:
    """Return a status that is too old, marked as such: how many records would be read again is unknown by now."""
    seen = "not seen on both sides yet" if age_seconds is None else f"as seen {format_age(age_seconds)} ago"
    return replace(
        status,
        reread_records=None,
        detail=seen if status.detail is None else f"{status.detail}; {seen}",
        partitions=tuple(replace(one, reread_records=None) for one in status.partitions),
    )


@dataclass(frozen=True, slots=True)
class Sides:
    """What was read last from both clusters.

    Attributes:
        there: The source.
        here: The target.
        translated: The translations of the source's commits.
        waits_for: What all groups wait for; None for nothing.
    """

    there: SideView = field(default_factory=SideView)
    here: SideView = field(default_factory=SideView)
    translated: Mapping[tuple[TopicPartition, int], TranslatedCommit] = field(default_factory=dict)
    waits_for: str | None = None


def picture(flow: str, name: str, seen: GroupSnapshot, sides: Sides) -> Picture:
    """Return the picture of one group."""
    partitions = tuple(_partition(name, source, seen, sides) for source in sorted(seen.partitions))
    refusal = sides.there.refusals.get(name) or sides.here.refusals.get(name)
    state, why = refusal or (worst(partitions), None)
    detail = next((one.detail for one in partitions if one.state is state and one.detail), None)
    rereads = [one.reread_records for one in partitions]
    known = [one for one in rereads if one is not None]
    there, here = sides.there.listed.get(name), sides.here.listed.get(name)
    bare = GroupStatus(
        flow=flow,
        group=name,
        kind=seen.kind,
        state=state,
        source_state=there.state if there is not None else None,
        target_state=here.state if here is not None else None,
        reread_records=sum(known) if known and len(known) == len(rereads) else None,
        detail=why or detail,
        unmirrored=seen.unmirrored,
        partitions=partitions,
    )
    return Picture(bare, seen.checkpoint, sum(one.cut for one in seen.verdicts.values()))


def _partition(name: str, source: TopicPartition, seen: GroupSnapshot, sides: Sides) -> GroupPartition:
    target = seen.partitions[source]
    commit = sides.there.commits.get(name, {}).get(source)
    stands = sides.here.commits.get(name, {}).get(target)
    translated = sides.translated.get((source, commit.offset)) if commit is not None else None
    state, detail = _state(source, commit, seen, sides)
    return GroupPartition(
        topic=source.topic,
        target_topic=target.topic,
        partition=source.partition,
        state=state,
        source_offset=commit.offset if commit is not None else None,
        target_offset=stands.offset if stands is not None else None,
        reread_records=reread(translated, stands),
        detail=detail,
    )


def _state(
    source: TopicPartition, commit: Committed | None, seen: GroupSnapshot, sides: Sides
) -> tuple[GroupState, str | None]:
    verdict = seen.verdicts.get(source)
    if verdict is None:
        return GroupState.WAITING, sides.waits_for
    if verdict.state is not GroupState.IN_STEP:
        return verdict.state, verdict.detail
    if verdict.write is not None:
        return GroupState.WAITING, "another daemon writes it"
    if commit is not None and commit != seen.applied.get(source):
        return GroupState.WAITING, sides.waits_for
    return GroupState.IN_STEP, None


def outcome(picture: Picture, written: int, *, source_known: bool) -> GroupOutcome:
    """Return what a final round did for a group."""
    bare = picture.bare
    exact = source_known and not picture.cut and all(one.state is GroupState.IN_STEP for one in bare.partitions)
    return GroupOutcome(
        group=bare.group,
        state=bare.state,
        exact=exact and bare.state is GroupState.IN_STEP,
        written=written,
        reread_records=bare.reread_records,
        cut_records=picture.cut,
        detail=bare.detail,
        partitions=bare.partitions,
    )
