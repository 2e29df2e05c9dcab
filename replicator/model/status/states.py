"""The states that a user sees, and which may follow which."""

from __future__ import annotations

import enum

from replicator.errors import BugError


class FlowState(enum.StrEnum):
    """State of a whole flow."""

    STARTING = "STARTING"
    """Not every topic has been examined yet."""
    ACTIVE = "ACTIVE"
    UNREACHABLE = "UNREACHABLE"
    """It should copy, but its source or its target does not answer."""
    FAULTED = "FAULTED"
    """It ended by itself, and is started again after a pause; its reason says what to fix."""
    PAUSED = "PAUSED"
    DRAINING = "DRAINING"
    FENCED = "FENCED"
    SWITCHED_OVER = "SWITCHED_OVER"
    FAILED_OVER = "FAILED_OVER"
    FAILING_BACK = "FAILING_BACK"


class MirrorState(enum.StrEnum):
    """State of a mirror (one topic of a flow) and of each of its partitions."""

    PENDING = "PENDING"
    SEEDING = "SEEDING"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    FAULTED = "FAULTED"
    STOPPED = "STOPPED"


class PartitionPhase(enum.StrEnum):
    """What one daemon does about a partition now."""

    ATTACHING = "attaching"
    """Its logs are being read, or the target's log is being made to start where the source's does."""
    COPYING = "copying"
    WAITING = "waiting"
    """It continues by itself; its reason says what it waits for."""
    STOPPED = "stopped"
    """It needs somebody to act: faulted, paused, switched, or without a right; its reason says which."""


class Reason(enum.StrEnum):
    """Why a mirror or partition is FAULTED (or waits): the names of CONTRACTS section 3, and the waits.

    A reason of the first block stops a partition until `mirror resolve`.
    One of the second block is shown while the replicator waits, and continues by itself.
    """

    OVERTAKEN_BY_RETENTION = "overtaken_by_retention"
    SOURCE_TRUNCATED = "source_truncated"
    SOURCE_RECREATED = "source_recreated"
    SOURCE_MISSING = "source_missing"
    TARGET_MISSING = "target_missing"
    TARGET_RECREATED = "target_recreated"
    FOREIGN_WRITER = "foreign_writer"
    TARGET_TAKEN = "target_taken"
    OTHER_OWNER = "other_owner"
    CONTENT_MISMATCH = "content_mismatch"
    RECORD_TOO_LARGE = "record_too_large"
    BATCH_TOO_LARGE = "batch_too_large"
    TOMBSTONES_MAY_BE_LOST = "tombstones_may_be_lost"
    CORRUPT_BATCH = "corrupt_batch"
    UNSUPPORTED_BATCH = "unsupported_batch"
    PARTITION_COUNT = "partition_count"
    TARGET_REFUSED = "target_refused"
    FENCED = "fenced"
    NOT_MAPPABLE = "not_mappable"
    LEFT_OUT = "left_out"
    INTERNAL_ERROR = "internal_error"

    HELD_ELSEWHERE = "held_elsewhere"
    WAITING_FOR_LEASE = "waiting_for_lease"
    WAITING_FOR_CLAIM = "waiting_for_claim"
    WAITING_FOR_DOUBT = "waiting_for_doubt"
    WAITING_FOR_TAIL = "waiting_for_tail"
    WAITING_FOR_LEADER = "waiting_for_leader"
    WAITING_FOR_BROKER = "waiting_for_broker"
    WAITING_FOR_ACCESS = "waiting_for_access"
    STATE_LOST = "state_lost"
    OPEN_TRANSACTION = "open_transaction"
    FILLING = "filling"


MIRROR_TRANSITIONS: dict[MirrorState, frozenset[MirrorState]] = {
    MirrorState.PENDING: frozenset(
        {
            MirrorState.SEEDING,
            MirrorState.ACTIVE,
            MirrorState.PAUSED,
            MirrorState.FAULTED,
            MirrorState.STOPPED,
        }
    ),
    MirrorState.SEEDING: frozenset(
        {
            MirrorState.PENDING,
            MirrorState.ACTIVE,
            MirrorState.PAUSED,
            MirrorState.FAULTED,
            MirrorState.STOPPED,
        }
    ),
    MirrorState.ACTIVE: frozenset({MirrorState.PENDING, MirrorState.PAUSED, MirrorState.FAULTED, MirrorState.STOPPED}),
    MirrorState.PAUSED: frozenset({MirrorState.PENDING, MirrorState.ACTIVE, MirrorState.FAULTED, MirrorState.STOPPED}),
    MirrorState.FAULTED: frozenset({MirrorState.PENDING, MirrorState.ACTIVE, MirrorState.STOPPED}),
    MirrorState.STOPPED: frozenset({MirrorState.PENDING}),
}
"""PENDING is the state of every (re-)attach: nothing is sent until the target's log has been read."""


def check_mirror_transition(before: MirrorState, after: MirrorState) -> MirrorState:
    """Return `after`, or raise.

    Raises:
        BugError: The table has no such transition.
    """
    if after is not before and after not in MIRROR_TRANSITIONS[before]:
        raise BugError(f"illegal mirror transition {before} -> {after}")
    return after
