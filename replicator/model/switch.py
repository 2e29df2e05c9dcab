"""A switch of a flow to its other region, as its journal tells it: values only (`core.switch.machine` decides)."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from replicator.model.words import is_known, read_word

PAST_MAX = 50
"""Finished switches that a flow's journal keeps, without what they noted of each partition."""


class Word(enum.StrEnum):
    """A word of a journal, which daemons of several versions read and write."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Return a word as it was written; one of a newer version is kept as it is, and equals no member."""
        return read_word(cls, text)

    @property
    def is_known(self) -> bool:
        """Whether this version has it."""
        return is_known(self)


class Verb(Word):
    """What was ordered."""

    SWITCHOVER = "switchover"
    FAILOVER = "failover"
    FAILBACK = "failback"


class Outcome(Word):
    """How a switch ended, or that it has not.

    FAILED_FORWARD: the fence had begun, the target was never opened, and the source was opened again (the way back).
    """

    RUNNING = "running"
    DONE = "done"
    ABORTED = "aborted"
    FAILED_FORWARD = "failed_forward"


class Direction(Word):
    """Where a running switch is heading."""

    FORWARD = "forward"
    ABORTING = "aborting"
    BACK = "back"


class Decision(Word):
    """Which side opens, as decided on the source: whoever comes second abides by it.

    The journal lies on the target, which may be dead; so the one question that the source must be able to answer
    alone is decided by a compare-and-set there.
    """

    UNDECIDED = "undecided"
    FORWARD = "forward"
    BACK = "back"
    WITHDRAWN = "withdrawn"


class Close(Word):
    """What keeps applications from writing to the source."""

    LOCK = "lock"
    STATED = "stated"


class Restore(Word):
    """How a topic of the old source becomes a mirror of the new primary."""

    RESUME = "resume"
    RECREATE = "recreate"
    APPEND = "append"


class StepName(Word):
    """The steps of all switches; a journal's `reached` is the last one that is recorded as done."""

    PREFLIGHT = "preflight"
    PLAN_LOCKS = "plan_locks"
    PLACE_LOCKS = "place_locks"
    PROVE_QUIESCENCE = "prove_quiescence"
    DRAIN = "drain"
    SYNC_GROUPS = "sync_groups"
    OFFER_WAY_BACK = "offer_way_back"
    BEGIN_FENCE = "begin_fence"
    FENCE = "fence"
    VERIFY_FENCE = "verify_fence"
    PROMOTE = "promote"
    CLAMP_GROUPS = "clamp_groups"
    RECORD_CUT = "record_cut"
    GIVE_UP_WAY_BACK = "give_up_way_back"
    OPEN_TARGET = "open_target"
    PREPARE_REVERSE = "prepare_reverse"
    START_REVERSE = "start_reverse"

    WITHDRAW_WAY_BACK = "withdraw_way_back"
    REOPEN_SOURCE = "reopen_source"
    MARK_SOURCE = "mark_source"
    RESUME_COPYING = "resume_copying"

    FIND_TAILS = "find_tails"
    EXPORT_TAILS = "export_tails"
    CONFIRM = "confirm"
    RESTORE_TOPICS = "restore_topics"
    CATCH_UP = "catch_up"
    SWITCH_BACK = "switch_back"

    ABORT = "abort"
    TURN_BACK = "turn_back"
    MEASURE_TAILS = "measure_tails"


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator chose. Times in ms.

    Attributes:
        close: What keeps writers off the source: our locks, or the operator's word that producers are stopped.
        reverse_flow: Name of the flow with both clusters swapped, which is to copy afterwards; empty for none.
            A failback always has one.
        way_back: Whether the source may hold the decision which side opens (its own state topic can be written to).
            Without it there is no way back once the fence has begun.
        groups_exact: A group that cannot be carried over exactly stops a switchover before the fence.
        timeout_ms: How long a switchover may take up to the fence, before it gives up and opens the source again.
        append: Failback: topics with a tail are appended to (mapped), rather than re-created (identical).
        switch_back: Failback: order the switchover of the other flow once it has caught up.
        restored: Failback: the other flow copies already, so that nothing has to be found and restored.
    """

    close: Close = Close.LOCK
    reverse_flow: str = ""
    way_back: bool = True
    groups_exact: bool = True
    timeout_ms: int = 600_000
    append: bool = False
    switch_back: bool = True
    restored: bool = False


class Away(Word):
    """Why a mirror takes no part in a switch of its flow.

    SWITCHED_ALONE: it goes on being copied, under a role of its own, whatever becomes of the flow. The others are not
    copied any more: nothing is closed, fenced or cut for them.
    """

    SWITCHED_ALONE = "switched_alone"
    NOT_SELECTED = "not_selected"
    SOURCE_GONE = "source_gone"


AWAY = {
    Away.SWITCHED_ALONE: "was switched alone",
    Away.NOT_SELECTED: "is no longer selected by the flow",
    Away.SOURCE_GONE: "was deleted on its source (the way back copies what is left of it: delete or exclude that)",
}
"""The same in words, behind the name of a topic."""


def away_text(why: Away) -> str:
    """Return why a mirror takes no part, behind the name of its topic."""
    return AWAY.get(why, f"is left out ({why!s}: a word of a newer version)")


@dataclass(frozen=True, order=True, slots=True)
class LeftOut:
    """A mirror that takes no part in a switch, by its source topic."""

    topic: str
    why: Away


@dataclass(frozen=True, slots=True)
class Scope:
    """Which mirrors of a flow a switch is about.

    Attributes:
        topics: Source topics of those that are switched alone; empty: the whole flow.
        left_out: Those that take no part, though the flow, or they themselves, were meant.
    """

    topics: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def __contains__(self, topic: str) -> bool:
        """Whether a source topic is meant."""
        return (not self.topics or topic in self.topics) and all(one.topic != topic for one in self.left_out)

    @property
    def is_empty(self) -> bool:
        """Whether none of the topics that were named is left."""
        return bool(self.topics) and not any(topic in self for topic in self.topics)


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants of a flow.

    Attributes:
        id: Made by whoever asks, so that a repeated request is known as one.
        topics: Source topics of the mirrors that are meant; empty: the whole flow.
        left_out: Mirrors that take no part in it.
    """

    id: str
    verb: Verb
    flow: str = ""
    topics: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    options: Options = Options()
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, order=True, slots=True)
class End:
    """Where a partition's log ends (the next record).

    Attributes:
        topic: Source topic.
        source: End of the source, or how far the target has come in the source's offsets.
        identical: Whether both sides have the same offsets.
    """

    topic: str
    partition: int
    source: int
    identical: bool = True


@dataclass(frozen=True, order=True, slots=True)
class Cut:
    """A pair of ends of a partition at a switch, and what is known of the source beyond it. Offsets are next records.

    Attributes:
        topic: Source topic.
        target_topic: Its name on the target.
        source: What the target holds, in the source's offsets; at least that where the partition is mapped.
        target: Where our own part of the target's log ended, below the fence's marker: the same moment in both logs.
        mapped: Whether offsets are not the same, and those without a record are left out.
        observed_end: End of the source when it was last seen; None if it never was.
        observed_ms: When that was.
        tail_end: End of the old source's log once it was seen again and closed; None until then.
        foreign: Offsets of the target from the cut up to the fence, where somebody else wrote: its own tail.
    """

    topic: str
    partition: int
    source: int
    target: int
    target_topic: str = ""
    mapped: bool = False
    observed_end: int | None = None
    observed_ms: int | None = None
    tail_end: int | None = None
    foreign: int = 0

    @property
    def loss(self) -> int | None:
        """Offsets known to be lost at least; None if the source was never seen, which is not the same as none."""
        return None if self.observed_end is None else max(0, self.observed_end - self.source)

    @property
    def tail(self) -> int | None:
        """Offsets of the old source past the cut, exactly; None until it was seen again."""
        return None if self.tail_end is None else max(0, self.tail_end - self.source)

    @property
    def is_lost_below(self) -> bool:
        """Whether the old source ends below the cut, and nothing tells where that stands on the target."""
        return self.mapped and self.tail_end is not None and self.tail_end < self.source


@dataclass(frozen=True, order=True, slots=True)
class Restoration:
    """What becomes of a topic of the old source.

    Attributes:
        topic_id: Of the topic as it was looked at, as text: it is re-created only if it is still this one, so that a
            late executor can never delete what came after. Empty where the cluster has none.
    """

    topic: str
    how: Restore
    topic_id: str = ""


@dataclass(frozen=True, slots=True)
class GroupsNote:
    """What became of the consumer groups.

    Attributes:
        exact: How many stand exactly where they stood on the source.
        inexact: Those that do not, each with a sentence; the first ones where there are many.
        inexact_count: How many those are.
    """

    exact: int = 0
    inexact: tuple[str, ...] = ()
    inexact_count: int = 0


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step that was recorded as done. Time in ms."""

    step: StepName
    at_ms: int
    executor: str = ""


def back_id(failback_id: str) -> str:
    """Return the id of the switchover of the other flow that a failback orders at its end."""
    return f"{failback_id}-back"


@dataclass(frozen=True, slots=True)
class Journal:
    """One switch: all that whoever goes on with it has to know. Times in ms.

    Attributes:
        flow: Name of the flow, so that its copy on the source can be found without the target.
        left_out: Mirrors that take no part in it, as the order said, or as was found until the fence.
        started_ms: When it was ordered.
        revision: Rises with every change; whoever worked on an older one has lost the step.
        reached: The last step recorded as done.
        direction: Forward, or which way out.
        stopped_by: Why it is being, or was, aborted or turned back.
        escalated: Whether it is a failover that took over from a switchover.
        replaces: Id of that switchover.
        locks: What keeps writers off the source, noted before it is put there: exactly these are removed.
        inherited_locks: Locks of earlier switches of this flow that may still stand: ours, never taken for another's.
        other_locks: Locks that earlier switches of other topics left standing by right: only carried on.
        ends: The source's ends, proven quiet after it was closed.
        fence_epoch: Epoch of the markers; None before the fence has begun.
        cuts: What every partition showed once it was fenced.
        topic_ids: Failback: ids of the old source's topics as they were looked at.
        confirmed: Digest of what the operator agreed to.
        decision: On the source's copy: which side opens. On the target: as it was last read there.
        is_copy: Whether this is the copy on the source.
        history: Steps in the order in which they were done.
        executor: Who wrote last. Told to the operator; nothing depends on it.
        target_cluster_id: On the source's copy: of the flow's target; empty where an older version wrote it.
        rest: What a newer version noted beside, as it stands in the record: it is written again.
    """

    id: str
    verb: Verb
    flow: str = ""
    topics: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    options: Options = Options()
    actor: str = ""
    reason: str = ""
    started_ms: int = 0
    ended_ms: int | None = None
    revision: int = 0
    reached: StepName | None = None
    direction: Direction = Direction.FORWARD
    outcome: Outcome = Outcome.RUNNING
    stopped_by: str = ""
    escalated: bool = False
    replaces: str = ""
    locks: tuple[str, ...] = ()
    inherited_locks: tuple[str, ...] = ()
    other_locks: tuple[str, ...] = ()
    ends: tuple[End, ...] = ()
    groups: GroupsNote = GroupsNote()
    fence_epoch: int | None = None
    cuts: tuple[Cut, ...] = ()
    topic_ids: tuple[tuple[str, str], ...] = ()
    confirmed: str = ""
    decision: Decision | None = None
    is_copy: bool = False
    history: tuple[StepRecord, ...] = ()
    executor: str = ""
    target_cluster_id: str = ""
    rest: bytes = b""

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """Words of a newer version: whoever does not know them can neither carry the switch out nor change it.

        Why mirrors are left out matters only while the switch runs.
        """
        steps = (*(one.step for one in self.history), *((self.reached,) if self.reached is not None else ()))
        decision = (self.decision,) if self.decision is not None else ()
        words: tuple[Word, ...] = (
            self.verb,
            self.outcome,
            self.direction,
            self.options.close,
            *decision,
            *steps,
            *(one.why for one in self.left_out if not self.finished),
        )
        return tuple(sorted({str(word) for word in words if not word.is_known}))

    @property
    def finished(self) -> bool:
        """Whether nothing of it is left to be done."""
        return self.outcome is not Outcome.RUNNING

    @property
    def scope(self) -> Scope:
        """Which mirrors it is about."""
        return Scope(self.topics, self.left_out)

    @property
    def known_loss(self) -> int | None:
        """Offsets known to be lost at least, of all partitions whose source was seen; None before the cut, or for none.

        A failback loses nothing.
        """
        losses = [cut.loss for cut in self.cuts if cut.loss is not None]
        if self.verb is Verb.FAILBACK or (not losses and (self.cuts or not self.did(StepName.RECORD_CUT))):
            return None
        return sum(losses)

    @property
    def unknown_losses(self) -> int:
        """Partitions of which nothing tells how much was lost."""
        return sum(cut.loss is None for cut in self.cuts)

    @property
    def back_id(self) -> str:
        """Id of the switchover of the other flow that a failback orders at its end."""
        return back_id(self.id)

    def did(self, step: StepName) -> bool:
        """Whether a step was recorded as done, ever."""
        return any(record.step is step for record in self.history)


@dataclass(frozen=True, slots=True)
class Switches:
    """A flow's journal record: the present or last switch, and those before it, newest last."""

    current: Journal | None = None
    past: tuple[Journal, ...] = ()

    @property
    def running(self) -> Journal | None:
        """The switch that is going on."""
        return self.current if self.current is not None and not self.current.finished else None

    @property
    def all(self) -> tuple[Journal, ...]:
        """All that are known, newest last."""
        return (*self.past, *((self.current,) if self.current is not None else ()))


def by_place(cuts: Iterable[Cut]) -> dict[tuple[str, int], Cut]:
    """Return cuts by source topic and partition."""
    return {(cut.topic, cut.partition): cut for cut in cuts}


def by_topic(cuts: Iterable[Cut]) -> dict[str, list[Cut]]:
    """Return cuts by their source topic, both in order."""
    found: dict[str, list[Cut]] = {}
    for cut in sorted(cuts, key=lambda one: (one.topic, one.partition)):
        found.setdefault(cut.topic, []).append(cut)
    return found
