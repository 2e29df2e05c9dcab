"""What the judge has to know of one partition of a daemon, beyond its state machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicator.core.copy.track import Track
    from replicator.engine.copy.attaching.facts import AttachFacts


@dataclass(slots=True)
class Noted:
    """What was noted of one partition of a daemon.

    Attributes:
        facts: What its last attach read.
        displaced: Whether it was told of a batch that landed further on, and does not know why yet.
        displaced_at: The generation of the map when it was told of that.
        displaced_by_another, place_may_be_lost: As they were when it stopped.
        mapped_before: How far its map was checked.
    """

    facts: AttachFacts | None = None
    displaced: bool = False
    displaced_at: int = 0
    displaced_by_another: bool = False
    place_may_be_lost: bool = True
    mapped_before: tuple[Track, int] | None = None

    @property
    def lost_place(self) -> bool:
        """Whether the logs did not tell where the target's end stands."""
        mapping = self.facts.mapping if self.facts is not None else None
        return mapping is not None and mapping.place is None

    @property
    def seen_end(self) -> int:
        """What the target's end was taken for, as an offset of the source."""
        facts = self.facts
        if facts is None:
            return 0
        place = facts.mapping.place if facts.mapping is not None else None
        if facts.mapping is not None:
            return -1 if place is None else place.source
        return facts.target.end
