"""How large a response may be, by request: a larger claim is refused before anything is allocated for it."""

from __future__ import annotations

from typing import Final, NamedTuple

_SMALL_BYTES: Final = 1 << 20
"""Logins, versions, one id: Kafka's own bound for what a login sends is half of this."""
_USUAL_BYTES: Final = 16 << 20
_LARGE_BYTES: Final = 64 << 20
"""Responses that grow with the whole cluster: this much is the Metadata of a million partitions."""


class Limit(NamedTuple):
    """The name of a request, and the largest response to it."""

    api: str
    answer_bytes_max: int


_LIMITS: Final = {
    0: Limit("Produce", _USUAL_BYTES),
    1: Limit("Fetch", _LARGE_BYTES),
    2: Limit("ListOffsets", _LARGE_BYTES),
    3: Limit("Metadata", _LARGE_BYTES),
    8: Limit("OffsetCommit", _LARGE_BYTES),
    9: Limit("OffsetFetch", _LARGE_BYTES),
    10: Limit("FindCoordinator", _USUAL_BYTES),
    15: Limit("DescribeGroups", _LARGE_BYTES),
    16: Limit("ListGroups", _LARGE_BYTES),
    17: Limit("SaslHandshake", _SMALL_BYTES),
    18: Limit("ApiVersions", _SMALL_BYTES),
    19: Limit("CreateTopics", _USUAL_BYTES),
    21: Limit("DeleteRecords", _USUAL_BYTES),
    22: Limit("InitProducerId", _SMALL_BYTES),
    23: Limit("OffsetForLeaderEpoch", _LARGE_BYTES),
    24: Limit("AddPartitionsToTxn", _USUAL_BYTES),
    26: Limit("EndTxn", _SMALL_BYTES),
    27: Limit("WriteTxnMarkers", _USUAL_BYTES),
    29: Limit("DescribeAcls", _LARGE_BYTES),
    36: Limit("SaslAuthenticate", _SMALL_BYTES),
    48: Limit("DescribeClientQuotas", _USUAL_BYTES),
    55: Limit("DescribeQuorum", _USUAL_BYTES),
    61: Limit("DescribeProducers", _LARGE_BYTES),
}


def limit_of(api_key: int) -> Limit:
    """Return the limit for the responses to a request, by its API key."""
    return _LIMITS.get(api_key) or Limit(f"request {api_key}", _USUAL_BYTES)
