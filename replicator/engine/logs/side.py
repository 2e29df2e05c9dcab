"""One cluster as one side of a flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicator.engine.logs.choosing import Chooser
    from replicator.wire.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Side:
    """One cluster, and the ids of the topics that are meant there: those of the mirror records, not of today's names.

    `chooser` decides which batches are passed over; None for none.
    """

    cluster: Cluster
    topic_ids: dict[str, bytes]
    chooser: Chooser | None = None
