"""What becomes of a mirror or a flow whose records are removed from `replicator.state`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is removed, or was.

    Attributes:
        records: How many records of `replicator.state`; 0 where there were none.
        removed: What they were about, in words.
        left_behind: What stays on the clusters, in words.
    """

    records: int = 0
    removed: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()
