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
    """Return the transactional id of compare-and-set changes to the state topic."""
    return f"replicator.{flow_uid}.state"


def data_transactional_id(flow_uid: str) -> str:
    """Return the transactional id whose producer (id, epoch) every writer of the flow shares."""
    return f"replicator.{flow_uid}.data"


def filler_transactional_id(flow_uid: str) -> str:
    """Return the transactional id whose producer writes the filler batches of a seed."""
    return f"replicator.{flow_uid}.filler"


def fill_transactional_id(flow_uid: str) -> str:
    """Return the transactional id whose producer id the markers of fills carry, under the number of the claim."""
    return f"replicator.{flow_uid}.fill"


def fill_route_transactional_id(flow_uid: str, shard: int) -> str:
    """Return the transactional id of the transactions that write markers where the bulk route is not allowed.

    One of its own: epochs of its producer rise with each transaction, those in bulk with each claim. And one for each
    shard, as their holders would fence each other otherwise.
    """
    return f"replicator.{flow_uid}.fill-route" + (f".{shard}" if shard else "")


def way_back_transactional_id(flow_uid: str) -> str:
    """Return the transactional id, on the flow's source, whose producer marks it where a switch is taken back."""
    return f"replicator.{flow_uid}.way-back"


def export_transactional_id(flow_uid: str) -> str:
    """Return the transactional id, on the flow's target, under which divergent records are exported."""
    return f"replicator.{flow_uid}.export"
