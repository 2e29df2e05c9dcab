"""A shard for units that only ask about its claim, or not even that."""

from __future__ import annotations

from typing import Any, cast

from replicator.engine.work.shards import Shard


def shard_with(claim: object = None, number: int = 0) -> Shard:
    """Return a shard whose claim is `claim`, without anything behind it."""
    return Shard(number, cast("Any", claim))
