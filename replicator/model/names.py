"""Names that several packages share."""

from __future__ import annotations

from typing import NamedTuple

STATE_TOPIC = "replicator.state"


class TopicPartition(NamedTuple):
    """One partition of one topic, by name."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


def state_transactional_id(flow_uid: str) -> str:
    """Return the transactional id for compare-and-set changes to the state topic."""
    return f"replicator.{flow_uid}.state"


def data_transactional_id(flow_uid: str) -> str:
    """Return the transactional id whose producer (id, epoch) every writer of the flow shares."""
    return f"replicator.{flow_uid}.data"


def filler_transactional_id(flow_uid: str) -> str:
    """Return the transactional id whose producer writes the filler batches of a seed."""
    return f"replicator.{flow_uid}.filler"


def fill_transactional_id(flow_uid: str) -> str:
    """Return the transactional id whose producer id the markers of fills carry, with the claim's number as epoch."""
    return f"replicator.{flow_uid}.fill"


def fill_route_transactional_id(flow_uid: str, shard: int) -> str:
    """Return the transactional id of the transactions that write markers where the bulk route is not allowed.

    It is separate because its producer's epoch rises with each transaction, the one of the bulk route with each claim.
    There is one per shard because the holders would otherwise fence each other.
    """
    return f"replicator.{flow_uid}.fill-route" + (f".{shard}" if shard else "")


def way_back_transactional_id(flow_uid: str) -> str:
    """Return the transactional id, on the flow's source, whose producer marks the source when a switch is undone."""
    return f"replicator.{flow_uid}.way-back"


def export_transactional_id(flow_uid: str) -> str:
    """Return the transactional id, on the flow's target, under which divergent records are exported."""
    return f"replicator.{flow_uid}.export"
