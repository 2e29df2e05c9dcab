"""Records of claims: who holds a shard, and what else shows that a daemon is working on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError, Message

from replicator.engine.state.records.keys import get, key, put
from replicator.engine.state.topic.index import indexed, parse_key
from replicator.errors import DamagedRecord
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.engine.state.topic.chunks import Change

_RENEWAL = "renewal"
_PRESENCE = "presence/"


def claim_key(uid: str, shard: int) -> bytes:
    """Return the key of a shard's claim."""
    return key(pb.KIND_CLAIM, uid, partition=shard)


def renewal_key(uid: str, shard: int) -> bytes:
    """Return the key of the claim holder's signs of life."""
    return key(pb.KIND_CLAIM, uid, _RENEWAL, shard)


def presence_key(uid: str, instance: str, shard: int) -> bytes:
    """Return the key of a daemon's sign of life for a shard of this flow."""
    return key(pb.KIND_CLAIM, uid, _PRESENCE + instance, shard)


def presence_of(raw: bytes, uid: str) -> tuple[str, int] | None:
    """Return the daemon and the shard whose presence this key is about; None for any other key."""
    parsed = parse_key(raw)
    if parsed is None or parsed.kind != pb.KIND_CLAIM or parsed.flow_uid != uid:
        return None
    if not parsed.topic.startswith(_PRESENCE):
        return None
    return parsed.topic.removeprefix(_PRESENCE), parsed.partition


def claim_record(parsed: pb.StateKey) -> type[Message]:
    """Return the type of record under a key of the claims' kind."""
    return pb.RenewalRecord if parsed.topic else pb.ClaimRecord


def signs_of(records: Mapping[bytes, bytes], uid: str) -> dict[bytes, bytes]:
    """Return the records that show that daemons of a flow may be active: held claims, their renewals, presences."""
    return {
        raw_key: value
        for raw_key, parsed, value in indexed(records).find(pb.KIND_CLAIM, uid)
        if not _is_given_back(records, uid, parsed, value)
    }


def _is_given_back(records: Mapping[bytes, bytes], uid: str, parsed: pb.StateKey, value: bytes) -> bool:
    """Return whether a sign is about a claim that was released; an unreadable one shows that somebody is there."""
    try:
        if not parsed.topic:
            return pb.ClaimRecord.FromString(value).released
        claim = get_claim(records, uid, parsed.partition) if parsed.topic == _RENEWAL else None
    except (DecodeError, DamagedRecord):
        return False
    return claim is not None and claim.released


def get_claim(records: Mapping[bytes, bytes], uid: str, shard: int) -> pb.ClaimRecord | None:
    """Return a shard's claim."""
    return get(records, claim_key(uid, shard), pb.ClaimRecord())


def freed_claims(records: Mapping[bytes, bytes], uid: str, before: int, after: int) -> list[Change]:
    """Return the changes that free the claims of all shards, above the highest number so far: markers have that epoch.

    Args:
        records: Records of the state topic.
        uid: The flow.
        before: How many shards it had.
        after: How many it has from now on.
    """
    claims = (get_claim(records, uid, shard) for shard in range(before))
    highest = max((claim.number for claim in claims if claim is not None), default=0)
    return [
        put(claim_key(uid, shard), pb.ClaimRecord(shard=shard, number=highest, released=True)) for shard in range(after)
    ]


def get_renewal(records: Mapping[bytes, bytes], uid: str, shard: int) -> pb.RenewalRecord | None:
    """Return the last sign of life of a shard's claim."""
    return get(records, renewal_key(uid, shard), pb.RenewalRecord())
