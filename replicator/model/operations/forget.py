"""The removal of a mirror's or a flow's records from `replicator.state`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What will be removed, or was removed.

    Attributes:
        records: How many records of `replicator.state`; 0 if there were none.
        removed: What they were about, in words.
        left_behind: What remains on the clusters, in words.
    """

    records: int = 0
    removed: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()
