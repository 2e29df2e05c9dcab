"""When a copy of a compacted topic was away for too long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.recorded import Cleaning
from replicator.engine.copy.sightings import Sightings
from replicator.engine.flow.assembly.source_ends import intact_below
from replicator.engine.topics.mirror import Mirror
from replicator.model.names import TopicPartition
from tests.shards import shard_with

NOW_MS = 1_000_000_000
DAY_MS = 86_400_000
WHERE = TopicPartition("orders", 0)


def slot(level_ms: int, *, compacted: bool = True) -> Slot:
    """Return a partition that was level with its source at some time."""
    made = Slot(WHERE, WHERE, PartitionCopy(WHERE, TargetLimits(1000, 1000)), shard_with())
    made.recorded.cleaning = Cleaning(certain=compacted)
    made.recorded.level_ms = level_ms
    return made


def below_which(made: Slot, mirror: Mirror) -> int:
    """Ask about a partition whose source ends at 77 now."""
    context = SimpleNamespace(now=lambda: 0.0, now_ms=lambda: NOW_MS)
    context.own = lambda view: view
    pump: Any = SimpleNamespace(context=context, sightings=Sightings(cast("Any", context), cast("Any", None)))
    return intact_below(made, mirror, 77, pump)


def mirror(**settings: object) -> Mirror:
    """Return the mirror of a topic that keeps tombstones for a day."""
    return Mirror("orders", "orders", delete_retention_ms=DAY_MS, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("away_ms", "below"),
    [(DAY_MS - 1, 0), (DAY_MS + 1, 77)],
    ids=["in time", "too late"],
)
def test_longer_than_tombstones_are_kept(away_ms: int, below: int) -> None:
    """Everything up to the source's present end may miss some."""
    assert below_which(slot(NOW_MS - away_ms), mirror()) == below


def test_what_cannot_be_lost_is_not_missed() -> None:
    """No cleaner, a retention that is not known, a copy that was never level, and losses that were accepted."""
    long_ago = NOW_MS - 2 * DAY_MS
    assert below_which(slot(long_ago, compacted=False), mirror()) == 0
    assert below_which(slot(long_ago), Mirror("orders", "orders")) == 0
    assert below_which(slot(0), mirror()) == 0
    assert below_which(slot(long_ago), mirror(tombstones_ok_ms={0: NOW_MS - 1})) == 0
