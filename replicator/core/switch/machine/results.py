"""The results of steps (`steps`) that the switch machine gets: one value for each kind of result."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.model.switch.terms import Cut, Decision, End, GroupsNote, LeftOutMirror


@dataclass(frozen=True, slots=True)
class Ok:
    """It is done."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """It has to be retried; the journal does not change."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The preflight does not let the switch begin."""

    why: str


@dataclass(frozen=True, slots=True)
class LocksPlanned:
    """What will be placed: only what is not already in place as someone else's."""

    locks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quiescent:
    """Ends of every source partition in scope."""

    ends: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class Drained:
    """How far the target has come, for every partition."""

    ends: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class SourceMoved:
    """The source is not what was proven quiet: someone wrote to it, a topic was added, or some drop out."""

    why: str
    left_out: tuple[LeftOutMirror, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupsSynced:
    """The outcome for the groups."""

    groups: GroupsNote


@dataclass(frozen=True, slots=True)
class FenceBegun:
    """The epoch that every partition has to show."""

    epoch: int


@dataclass(frozen=True, slots=True)
class FenceVerified:
    """What every partition in scope shows; `observed_end` is the source's end as last seen."""

    cuts: tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """What is recorded on the source now."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class TailsFound:
    """The cuts, each with the end of the old source's log, and the ids of the topics examined."""

    cuts: tuple[Cut, ...]
    topic_ids: tuple[tuple[str, str], ...] = ()


Result = (
    Ok
    | NotYet
    | Refused
    | LocksPlanned
    | Quiescent
    | Drained
    | SourceMoved
    | GroupsSynced
    | FenceBegun
    | FenceVerified
    | Decided
    | TailsFound
)
