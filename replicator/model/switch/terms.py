"""The terms of a switch of a flow to its other region: values only (`core.switch.machine.machine` decides)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Self

from replicator.model.words import is_known, read_word

PAST_MAX = 50
"""How many finished switches a flow's journal keeps, without their details per partition."""


class Word(enum.StrEnum):
    """A word in a journal, which daemons of several versions read and write."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Return a written word; one of a newer version is kept as it is, and equals no member."""
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
    """How a switch ended, or that it still runs.

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

    The journal is on the target, which may be dead. So the one question that the source must be able to answer alone
    is decided by a compare-and-set on the source.
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
    """The steps of all switches; a journal's `reached` is the last one recorded as done."""

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
        reverse_flow: Name of the flow with both clusters swapped, which copies afterwards; empty for none.
            A failback always has one.
        way_back: Whether the decision which side opens can be kept on the source (its state topic is writable).
            Without it there is no way back once the fence has begun.
        groups_exact: Whether a group that cannot be carried over exactly stops a switchover before the fence.
        timeout_ms: How long a switchover may take up to the fence before it gives up and opens the source again.
        append: Failback: append to topics with a tail (mapped) instead of re-creating them (identical).
        switch_back: Failback: order the switchover of the other flow once it has caught up.
        restored: Failback: the other flow copies already, so there is nothing to find and restore.
    """

    close: Close = Close.LOCK
    reverse_flow: str = ""
    way_back: bool = True
    groups_exact: bool = True
    timeout_ms: int = 600_000
    append: bool = False
    switch_back: bool = True
    restored: bool = False


class LeftOutReason(Word):
    """Why a mirror takes no part in a switch of its flow.

    SWITCHED_ALONE: it continues to be copied, under a role of its own, whatever happens to the flow. The others are no
    longer copied: nothing is closed, fenced or cut for them.
    """

    SWITCHED_ALONE = "switched_alone"
    NOT_SELECTED = "not_selected"
    SOURCE_GONE = "source_gone"


LEFT_OUT_TEXTS = {
    LeftOutReason.SWITCHED_ALONE: "was switched alone",
    LeftOutReason.NOT_SELECTED: "is no longer selected by the flow",
    LeftOutReason.SOURCE_GONE: (
        "was deleted on its source (the way back copies what is left of it: delete or exclude that)"
    ),
}
"""The same in words, to follow the name of a topic."""


def left_out_text(why: LeftOutReason) -> str:
    """Return why a mirror takes no part, to follow the name of its topic."""
    return LEFT_OUT_TEXTS.get(why, f"is left out ({why!s}: a word of a newer version)")


@dataclass(frozen=True, order=True, slots=True)
class LeftOutMirror:
    """A mirror that takes no part in a switch, by its source topic."""

    topic: str
    why: LeftOutReason


@dataclass(frozen=True, slots=True)
class Scope:
    """Which mirrors of a flow a switch is about.

    Attributes:
        topics: Source topics of mirrors that are switched alone; empty: the whole flow.
        left_out: Mirrors that take no part although the flow, or they themselves, were named.
    """

    topics: tuple[str, ...] = ()
    left_out: tuple[LeftOutMirror, ...] = ()

    def __contains__(self, topic: str) -> bool:
        """Whether a source topic takes part."""
        return (not self.topics or topic in self.topics) and all(one.topic != topic for one in self.left_out)

    @property
    def is_empty(self) -> bool:
        """Whether none of the named topics is left."""
        return bool(self.topics) and not any(topic in self for topic in self.topics)


@dataclass(frozen=True, slots=True)
class SwitchOrder:
    """An operator's order for a flow.

    Attributes:
        id: Chosen by the caller, so that a repeated request is recognised.
        topics: Source topics of the mirrors to switch; empty: the whole flow.
        left_out: Mirrors that take no part in it.
    """

    id: str
    verb: Verb
    flow: str = ""
    topics: tuple[str, ...] = ()
    left_out: tuple[LeftOutMirror, ...] = ()
    options: Options = Options()
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, order=True, slots=True)
class End:
    """Where a partition's log ends (the next record).

    Attributes:
        topic: Source topic.
        source: End of the source, or how far the target has got, in the source's offsets.
        identical: Whether both sides have the same offsets.
    """

    topic: str
    partition: int
    source: int
    identical: bool = True


@dataclass(frozen=True, order=True, slots=True)
class Cut:
    """Where both logs of a partition agree at a switch, and what is known about the source above that.

    Offsets are next records.

    Attributes:
        topic: Source topic.
        target_topic: Its name on the target.
        source: The end of what the target holds, in the source's offsets; a lower bound if the partition is mapped.
        target: Where our own part of the target's log ended, below the fence's marker: the same moment in both logs.
        mapped: Whether offsets differ, and those without a record are left out.
        observed_end: End of the source when it was last seen; None if it never was.
        observed_ms: When that was.
        tail_end: End of the old source's log once it has been seen again and closed; None until then.
        foreign: Offsets of the target from the cut up to the fence, where somebody else wrote: the target's own tail.
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
        """Offsets known to be lost, at least; None if the source was never seen, which does not mean none."""
        return None if self.observed_end is None else max(0, self.observed_end - self.source)

    @property
    def tail(self) -> int | None:
        """Exact number of the old source's offsets above the cut; None until it has been seen again."""
        return None if self.tail_end is None else max(0, self.tail_end - self.source)

    @property
    def is_lost_below(self) -> bool:
        """Whether the old source ends below the cut, and nothing shows where that end lies on the target."""
        return self.mapped and self.tail_end is not None and self.tail_end < self.source


@dataclass(frozen=True, order=True, slots=True)
class Restoration:
    """What becomes of a topic of the old source.

    Attributes:
        topic_id: Id of the topic when it was examined, as text: it is re-created only if it is still this one, so that
            a late executor can never delete a newer topic. Empty if the cluster has no topic ids.
    """

    topic: str
    how: Restore
    topic_id: str = ""


@dataclass(frozen=True, slots=True)
class GroupsNote:
    """What became of the consumer groups.

    Attributes:
        exact: How many groups continue exactly where they were on the source.
        inexact: Those that do not, each with a sentence; the first ones if there are many.
        inexact_count: How many do not.
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
