"""One classifier per question about a broker's response, with the reason beside each case.

Numbers are Kafka's error codes (the protocol's own table); unknown ones count as the safe case.
"""

from __future__ import annotations

import enum


class ProduceOutcome(enum.Enum):
    """What a Produce response says about one batch."""

    ACCEPTED = "accepted"
    """In the log, at the offset that the response carries (also for an exact repeat: KAFKA_FACTS K5)."""
    DUPLICATE = "duplicate"
    """In the log, but the broker no longer knows at which offset."""
    OUT_OF_ORDER = "refused"
    """Not appended: our sequence is not the next one. Another writer of the same flow was faster, or the broker lost
    our producer state."""
    FENCED = "fenced"
    """Not appended, never will be: this partition has a higher producer epoch."""
    MOVED = "moved"
    """Not appended here: the leader is elsewhere, or the broker is not ready."""
    UNKNOWN = "unknown"
    """Perhaps appended: only the log can tell."""
    TOO_LARGE = "too_large"
    """Never appended: over the topic's or the broker's limit."""
    CORRUPT = "corrupt"
    """Not appended: the bytes do not match the checksum that came from the source."""
    MISSING = "missing"
    """The topic is gone, or another one has its name."""
    DENIED = "denied"
    """Not appended: the right is missing, perhaps only now. It may be granted (again) at any time."""
    REJECTED = "rejected"
    """Not appended, nor would a repeat be: policy, record validation."""


_PRODUCE = {
    0: ProduceOutcome.ACCEPTED,
    2: ProduceOutcome.CORRUPT,
    3: ProduceOutcome.MISSING,  # also returned where the leader has just moved; the metadata says which it is
    5: ProduceOutcome.MOVED,
    6: ProduceOutcome.MOVED,
    7: ProduceOutcome.UNKNOWN,  # appended on the leader; the replicas did not follow within the time-out
    8: ProduceOutcome.MOVED,
    9: ProduceOutcome.MOVED,
    10: ProduceOutcome.TOO_LARGE,
    13: ProduceOutcome.UNKNOWN,
    18: ProduceOutcome.TOO_LARGE,
    19: ProduceOutcome.MOVED,  # NOT_ENOUGH_REPLICAS is checked before the append
    20: ProduceOutcome.UNKNOWN,  # ..._AFTER_APPEND is not
    29: ProduceOutcome.DENIED,
    31: ProduceOutcome.DENIED,
    45: ProduceOutcome.OUT_OF_ORDER,
    46: ProduceOutcome.DUPLICATE,
    47: ProduceOutcome.FENCED,
    56: ProduceOutcome.UNKNOWN,  # a disk error may come after the write
    59: ProduceOutcome.OUT_OF_ORDER,
    72: ProduceOutcome.MOVED,
    74: ProduceOutcome.MOVED,
    75: ProduceOutcome.MOVED,
    90: ProduceOutcome.FENCED,
    100: ProduceOutcome.MISSING,
    103: ProduceOutcome.MISSING,
    -1: ProduceOutcome.UNKNOWN,
}


def classify_produce(code: int) -> ProduceOutcome:
    """Return what a Produce error code means for one batch."""
    return _PRODUCE.get(code, ProduceOutcome.REJECTED)


class FetchOutcome(enum.Enum):
    """What a Fetch response says about one partition."""

    OK = "ok"
    OUT_OF_RANGE = "out_of_range"
    """The position is below the log start or above the log end: the offsets say which."""
    MOVED = "moved"
    """Refresh the metadata, then fetch again."""
    MISSING = "missing"
    """The topic is gone, or re-created under another id."""
    REJECTED = "rejected"
    """A repeat would not help."""


_FETCH = {
    0: FetchOutcome.OK,
    1: FetchOutcome.OUT_OF_RANGE,
    3: FetchOutcome.MISSING,
    5: FetchOutcome.MOVED,
    6: FetchOutcome.MOVED,
    7: FetchOutcome.MOVED,
    8: FetchOutcome.MOVED,
    9: FetchOutcome.MOVED,
    56: FetchOutcome.MOVED,
    72: FetchOutcome.MOVED,
    74: FetchOutcome.MOVED,
    75: FetchOutcome.MOVED,
    78: FetchOutcome.MOVED,
    100: FetchOutcome.MISSING,
    103: FetchOutcome.MISSING,
    106: FetchOutcome.MISSING,
    -1: FetchOutcome.MOVED,
}


def classify_fetch(code: int) -> FetchOutcome:
    """Return what a Fetch error code means for one partition."""
    return _FETCH.get(code, FetchOutcome.REJECTED)
