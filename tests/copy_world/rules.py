"""What of the real classes is broken in a world, if anything, and the numbers that a world is made of."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.core.work.claim import Timing
from replicator.engine.copy.partitions.live_maps import OffsetMaps
from replicator.engine.state import records as state
from replicator.model.names import TopicPartition

WRITER = Writer(producer_id=100, producer_epoch=0, role=Role.COPYING, filler_id=101, filler_epoch=0, fill_id=102)
TIMING = Timing(ttl_seconds=10.0, margin_seconds=3.0)
QUEUE_BYTES_MAX = 600
REGISTERED = 0
"""The incarnation of the source's topic that the mirror record names."""
REQUEST_SECONDS = 10.0
"""A request takes effect within this time, or never; what it appended is committed as long after it, or lost."""
DOUBT_MS = round(2 * REQUEST_SECONDS * 1000)
TOPIC = "orders"
WHERE = TopicPartition(TOPIC, 0)
"""The partition of histories that have one."""
UID = "flow"
MIRROR_KEY = state.mirror_key(UID, TOPIC)


class Violation(AssertionError):
    """The simulation caught something that must never happen."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is broken of the software while a history runs; nothing unless it is said.

    Attributes:
        patches: (owner, name, value): what stands there instead.
        maps_type: How offset maps are read and changed.
    """

    patches: tuple[tuple[object, str, object], ...] = ()
    maps_type: type[OffsetMaps] = OffsetMaps


SOUND = Rules()
