"""Phases, inputs and outputs of a partition's machine: values only (the machine is `core.copy.machine`)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

IN_FLIGHT_BATCHES_MAX = 5
"""A broker recognises exact repeats only among the last 5 batches of a producer (KAFKA_FACTS K5)."""


class Phase(enum.Enum):
    """Where a partition is in its life."""

    ATTACHING = "attaching"
    SEEDING = "seeding"
    COPYING = "copying"
    SETTLING = "settling"
    PAUSED = "paused"
    FAULTED = "faulted"


NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.ATTACHING: frozenset({Phase.SEEDING, Phase.COPYING, Phase.PAUSED, Phase.FAULTED}),
    Phase.SEEDING: frozenset({Phase.ATTACHING, Phase.PAUSED, Phase.FAULTED}),
    Phase.COPYING: frozenset({Phase.SETTLING, Phase.PAUSED, Phase.FAULTED}),
    Phase.SETTLING: frozenset({Phase.ATTACHING, Phase.PAUSED, Phase.FAULTED}),
    Phase.PAUSED: frozenset({Phase.ATTACHING, Phase.FAULTED}),
    Phase.FAULTED: frozenset({Phase.ATTACHING}),
}


class Batch(NamedTuple):
    """One batch accepted for the target, and the offset it must get there.

    `payload` and `owner` are opaque here (a view of a frame, and the frame).
    """

    base_offset: int
    record_count: int
    max_timestamp: int
    size: int
    payload: object
    owner: object


class Ending(NamedTuple):
    """The end of a phase: whoever drives the machine returns the frames and takes the partition off its route.

    Attributes:
        before: The phase that was left.
        dropped: Batches that will not be sent.
    """

    before: Phase
    dropped: Sequence[Batch]


@dataclass(frozen=True, slots=True)
class TargetLimits:
    """What the target's topic accepts, and how long its brokers remember a producer. Bytes and ms.

    `fill_length_max` is the length of the longest hole that may be filled. `may_be_mapped`: the partition switches to
    mapped offsets where a hole is longer, or cannot be filled at all. `surplus_allowed`: it may continue after surplus
    markers. `others_write`: records of others may lie anywhere between ours.
    """

    batch_bytes_max: int
    guard_ms: int
    fill_length_max: int = 5_000_000
    may_be_mapped: bool = False
    surplus_allowed: bool = False
    others_write: bool = False
