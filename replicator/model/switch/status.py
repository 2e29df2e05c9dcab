"""What an operator sees of a switch: before it is ordered, while it runs, and afterwards; and its JSON shape."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from replicator.model.switch.terms import Direction, Outcome, Verb


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """What an order would do.

    Attributes:
        verb: The order's verb.
        steps: Its steps in words, in order.
        undone_until: How many of them can be undone.
        problems: What forbids it, each with what helps.
        known_loss: Offsets that are known to be lost, at least; None if the verb loses nothing.
        lossy: Partitions that lose something: topic, partition, offsets.
        unseen: Number of partitions whose loss is unknown.
        foreign: Partitions of the target that somebody else wrote to: source topic, partition, offsets.
        observed_age_seconds: Age of the oldest observation that this relies on; None for none.
        already: Whether it is under way or done already.
        switch_id: Id of that switch.
        topics: Source topics of all mirrors that it is about.
        left_out: Mirrors of the flow that it is not about: source topic, and why.
    """

    verb: Verb
    steps: tuple[str, ...] = ()
    undone_until: int = 0
    problems: tuple[str, ...] = ()
    known_loss: int | None = None
    lossy: tuple[tuple[str, int, int], ...] = ()
    unseen: int = 0
    observed_age_seconds: float | None = None
    already: bool = False
    switch_id: str = ""
    topics: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    foreign: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class StepStatus:
    """One step of a switch: its name, its text, and when it was done (Unix ms), None if it is not done."""

    step: str
    text: str
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CutStatus:
    """Where a partition was cut. Offsets are next records; None is unknown.

    Attributes:
        source: The end of what the target holds, in the source's offsets.
        target: The end of our own part of the target's log.
        observed_end: The source's end as last seen before the cut.
        loss: Offsets known to be lost, at least.
        tail: Exact number of the old source's offsets above the cut, once the old source has been seen again.
        foreign: Offsets of the target from the cut up to the fence, where somebody else wrote.
    """

    topic: str
    target_topic: str
    partition: int
    source: int
    target: int
    observed_end: int | None = None
    loss: int | None = None
    tail: int | None = None
    foreign: int = 0


@dataclass(frozen=True, slots=True)
class RestorationStatus:
    """What becomes of a topic of the old source: resume, recreate or append, and how many offsets only it has."""

    topic: str
    how: str
    tail: int


@dataclass(frozen=True, slots=True)
class SwitchStatus:
    """One switch. Times are Unix ms.

    It has an attribute for each field of the message `Switch`; they are also the keys of its JSON.

    Attributes:
        topics: Source topics that are switched alone; none for the whole flow.
        left_out: Mirrors that take no part in it: source topic, and why.
        replaces: Id of the switchover that a failover took over from.
        steps: Those that were done, then those that follow.
        waits_for: What holds it up now, as far as the answering daemon knows. Once a failover has ended: why the tail
            of its old source is not measured although something answers there. None for nothing.
        groups_exact: Groups that continue exactly where they were; None before they were carried over.
        groups_inexact: Groups that do not.
        known_loss: Offsets known to be lost, at least; None before the cut, if the source was never seen, and for a
            failback.
        unknown_losses: Number of partitions whose loss is unknown.
        observed_age_seconds: Age, at the time of the cut, of the oldest end that the loss relies on.
        confirm: What the operator has to agree to before it continues; empty for nothing.
    """

    id: str
    flow: str
    verb: Verb
    outcome: Outcome
    direction: Direction
    started_ms: int
    ended_ms: int | None = None
    actor: str = ""
    reason: str = ""
    stopped_by: str = ""
    epoch: int | None = None
    topics: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    replaces: str = ""
    reverse_flow: str = ""
    way_back: bool = False
    waits_for: str | None = None
    executor: str = ""
    steps: tuple[StepStatus, ...] = ()
    groups_exact: int | None = None
    groups_inexact: int | None = None
    groups_detail: tuple[str, ...] = ()
    known_loss: int | None = None
    unknown_losses: int = 0
    observed_age_seconds: float | None = None
    known_tail: int | None = None
    cuts: tuple[CutStatus, ...] = ()
    restorations: tuple[RestorationStatus, ...] = ()
    confirm: str = ""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.outcome is not Outcome.RUNNING


@dataclass(frozen=True, slots=True)
class BothSides:
    """How a switch left both sides of a pair of flows.

    Attributes:
        reverse: The switches of the reverse flow, as its own journal has them, newest last.
        states: Both flows, each with its state.
        open_side: The cluster that is open, by its name in the flow file; empty if neither or both are open.
        waits_for: What keeps the other side from following; empty for nothing.
    """

    reverse: tuple[SwitchStatus, ...] = ()
    states: tuple[tuple[str, str], ...] = ()
    open_side: str = ""
    waits_for: str = ""


def to_json(status: SwitchStatus) -> dict[str, Any]:
    """Return the JSON object of `switch status -o json`."""
    document = asdict(status)
    document["started_at"] = _time(document.pop("started_ms"))
    document["ended_at"] = _time(document.pop("ended_ms"))
    document["left_out"] = _left_out(status.left_out)
    for step in document["steps"]:
        step["at"] = _time(step.pop("at_ms"))
    return document


def plan_to_json(plan: SwitchPlan) -> dict[str, Any]:
    """Return the JSON object of `--dry-run -o json`."""
    document = asdict(plan)
    for name in ("lossy", "foreign"):
        document[name] = [dict(zip(("topic", "partition", "offsets"), one, strict=True)) for one in document[name]]
    document["left_out"] = _left_out(plan.left_out)
    return document


def _left_out(left_out: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"topic": topic, "why": why} for topic, why in left_out]


def _time(at_ms: int | None) -> str | None:
    """Return a time as RFC 3339."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
