"""A store that writes in a thread: the copy waits for no disk, however slow, stuck or full it is."""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from replicator.errors import StoreError
from replicator.store.event_store import EVENTS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.model.status.events import Event
    from replicator.store.event_store import Store

_CLOSE_SECONDS_MAX = 2.0
"""How long `close` waits for pending writes."""


class BackgroundStore:
    """Writes to another store, in order; see `Store`.

    At most `EVENTS_MAX` changes wait to be written; the oldest are dropped first. After a failed write, each `add` and
    `note_cluster` raises its error until a write succeeds again.

    Args:
        store: Where things are kept. Nobody else may use it from now on.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._clusters: dict[tuple[str, str], str] = {}
        self._due: deque[Callable[[], None]] = deque(maxlen=EVENTS_MAX)
        self._one_at_a_time = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._problem: StoreError | None = None
        # A daemon thread: if it is stuck in a write, it must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def add(self, event: Event) -> None:
        """See `Store.add`; the error is from an earlier change."""
        self._soon(partial(self._store.add, event))

    def recent(self, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """See `Store.recent`. It waits for the disk: do not call it on the event loop."""
        with self._one_at_a_time:
            self._write()
            return self._store.recent(flow, topic, limit)

    def note_cluster(self, flow: str, alias: str, cluster_id: str) -> None:
        """See `Store.note_cluster`; the error is from an earlier change."""
        self._clusters[flow, alias] = cluster_id
        self._soon(partial(self._store.note_cluster, flow, alias, cluster_id))

    def noted_cluster(self, flow: str, alias: str) -> str | None:
        """See `Store.noted_cluster`."""
        return self._clusters.get((flow, alias)) or self._store.noted_cluster(flow, alias)

    def close(self) -> None:
        """See `Store.close`; whatever the disk does not accept within two seconds is lost."""
        self._closing = True
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS_MAX)

    def _soon(self, change: Callable[[], None]) -> None:
        self._due.append(change)
        self._wake.set()
        if self._problem is not None:
            raise self._problem.again()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            with self._one_at_a_time:
                self._write()
        with self._one_at_a_time:
            self._write()
            self._store.close()

    def _write(self) -> None:
        while self._due:
            change = self._due.popleft()
            try:
                change()
            except StoreError as error:
                self._problem = error
            else:
                self._problem = None
