"""Where a daemon keeps its events, and which clusters its flows met: the interface, and a store in memory."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.model.status.events import Event

EVENTS_MAX = 10_000
"""How many events are kept; the oldest are dropped first."""


class Store(Protocol):
    """Keeps the events of one daemon, and which clusters its flows have seen."""

    def add(self, event: Event) -> None:
        """Keep an event.

        Raises:
            StoreError: It cannot be kept; earlier ones still are.
        """
        ...

    def recent(self, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """Return at most `limit` events of a flow (or of one of its source topics), newest last.

        Raises:
            StoreError: They cannot be read.
        """
        ...

    def note_cluster(self, flow: str, alias: str, cluster_id: str) -> None:
        """Keep which cluster a flow saw under an alias; the last one counts.

        Raises:
            StoreError: It cannot be kept.
        """
        ...

    def noted_cluster(self, flow: str, alias: str) -> str | None:
        """Return the cluster that a flow last saw under an alias, None if nothing was kept.

        Raises:
            StoreError: It cannot be read.
        """
        ...

    def close(self) -> None:
        """Close it; safe to call twice."""
        ...


class MemoryStore:
    """Keeps events until the process ends."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._clusters: dict[tuple[str, str], str] = {}

    def add(self, event: Event) -> None:
        """See `Store.add`."""
        self._events.append(event)

    def recent(self, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """See `Store.recent`."""
        chosen = [event for event in self._events if event.flow == flow and topic in {None, event.topic}]
        return chosen[-limit:]

    def note_cluster(self, flow: str, alias: str, cluster_id: str) -> None:
        """See `Store.note_cluster`."""
        self._clusters[flow, alias] = cluster_id

    def noted_cluster(self, flow: str, alias: str) -> str | None:
        """See `Store.noted_cluster`."""
        return self._clusters.get((flow, alias))

    def close(self) -> None:
        """See `Store.close`."""
