"""The journal of a switch: what was decided, done and found, step by step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from replicator.model.switch.terms import (
    Cut,
    Decision,
    Direction,
    End,
    GroupsNote,
    LeftOutMirror,
    Options,
    Outcome,
    Scope,
    StepName,
    StepRecord,
    Verb,
    Word,
    back_id,
)


@dataclass(frozen=True, slots=True)
class Journal:
    """One switch: everything that is needed to continue it. Times in ms.

    It has an attribute for each field of `SwitchRecord`: what one compare-and-set writes is one value.

    Attributes:
        flow: Name of the flow, so that its copy on the source can be found without the target.
        left_out: Mirrors that take no part in it, by the order or as found up to the fence.
        started_ms: When it was ordered.
        revision: Rises with every change; an executor that worked on an older revision has lost the step.
        reached: The last step recorded as done.
        direction: Forward, or which way out.
        stopped_by: Why it is being, or was, aborted or turned back.
        escalated: Whether it is a failover that took over from a switchover.
        replaces: Id of that switchover.
        locks: What keeps writers off the source, recorded before it is placed: exactly these are removed.
        inherited_locks: Locks of earlier switches of this flow that may still exist: ours, never taken for foreign
            ones.
        other_locks: Locks that earlier switches of other topics rightly left in place: only carried along.
        ends: The source's ends, proven quiet after it was closed.
        fence_epoch: Epoch of the markers; None before the fence has begun.
        cuts: What every partition showed once it was fenced.
        topic_ids: Failback: ids of the old source's topics when they were examined.
        confirmed: Digest of what the operator agreed to.
        decision: On the source's copy: which side opens. On the target: the decision last read from the source.
        is_copy: Whether this is the copy on the source.
        history: Steps in the order in which they were done.
        executor: Who wrote last. Shown to the operator; nothing depends on it.
        target_cluster_id: On the source's copy: id of the flow's target; empty if an older version wrote it.
        rest: Unknown fields of a newer version, as they are in the record: they are written back.
    """

    id: str
    verb: Verb
    flow: str = ""
    topics: tuple[str, ...] = ()
    left_out: tuple[LeftOutMirror, ...] = ()
    options: Options = field(default_factory=Options)
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
    groups: GroupsNote = field(default_factory=GroupsNote)
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
        """Words of a newer version: a daemon that does not know them can neither carry out nor change the switch.

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
        """Whether there is nothing left to do."""
        return self.outcome is not Outcome.RUNNING

    @property
    def scope(self) -> Scope:
        """Which mirrors it is about."""
        return Scope(self.topics, self.left_out)

    @property
    def known_loss(self) -> int | None:
        """Offsets known to be lost, at least, in partitions whose source was seen; None before the cut, or if none was.

        None for a failback as well, which loses nothing.
        """
        losses = [cut.loss for cut in self.cuts if cut.loss is not None]
        if self.verb is Verb.FAILBACK or (not losses and (self.cuts or not self.did(StepName.RECORD_CUT))):
            return None
        return sum(losses)

    @property
    def unknown_losses(self) -> int:
        """Partitions whose loss is unknown."""
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
    """A flow's journal record: the current or last switch, and the earlier ones, newest last."""

    current: Journal | None = None
    past: tuple[Journal, ...] = ()

    @property
    def running(self) -> Journal | None:
        """The switch in progress."""
        return self.current if self.current is not None and not self.current.finished else None

    @property
    def all(self) -> tuple[Journal, ...]:
        """All known switches, newest last."""
        return (*self.past, *((self.current,) if self.current is not None else ()))


def by_partition(cuts: Iterable[Cut]) -> dict[tuple[str, int], Cut]:
    """Return cuts by source topic and partition."""
    return {(cut.topic, cut.partition): cut for cut in cuts}


def by_topic(cuts: Iterable[Cut]) -> dict[str, list[Cut]]:
    """Return cuts by source topic, topics and cuts in order."""
    found: dict[str, list[Cut]] = {}
    for cut in sorted(cuts, key=lambda one: (one.topic, one.partition)):
        found.setdefault(cut.topic, []).append(cut)
    return found
