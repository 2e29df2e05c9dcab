"""Events in a SQLite file in the state directory, so that `mirror describe --events` survives a restart.

It also keeps which clusters the flows have seen, to recognize a flow whose source is gone after a restart.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.errors import StoreDamaged
from replicator.model.status.events import Event
from replicator.store.event_store import EVENTS_MAX
from replicator.store.sqlite_file import SIDE_FILES, SqliteFile

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE = "replicator.db"
_TRIM_EVERY = 500
_HOLDS = "the history of events, and which clusters the flows have seen"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL, flow TEXT NOT NULL, topic TEXT, part INTEGER,
  before TEXT, after TEXT, reason TEXT, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS event_by_flow ON event (flow, topic, id);
CREATE TABLE IF NOT EXISTS cluster (
  flow TEXT NOT NULL, alias TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (flow, alias)
);
"""


class SqliteStore:
    """Keeps events in a file; a damaged one is set aside, and a new one started.

    Attributes:
        set_aside: The new name of a damaged file; None if it was sound.

    Raises:
        StoreFull: There is no room for it.
        StoreError: The file cannot be opened, or other users can access it.
    """

    def __init__(self, directory: Path) -> None:
        self.set_aside: Path | None = None
        self._file = self._opened(directory / _FILE)
        self._connection = self._file.connection
        self._added = 0
        self._clusters = self._read_clusters()

    def _opened(self, path: Path) -> SqliteFile:
        try:
            return SqliteFile(path, _SCHEMA, _HOLDS)
        except StoreDamaged as error:
            aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
            try:
                path.rename(aside)
                for suffix in SIDE_FILES:  # they belong to that file, and would damage the next one
                    beside = Path(f"{path}{suffix}")
                    if beside.exists():
                        beside.rename(f"{aside}{suffix}")
            except OSError:
                raise error from None
            self.set_aside = aside
        return SqliteFile(path, _SCHEMA, _HOLDS)

    def add(self, event: Event) -> None:
        """See `Store.add`."""
        row = (
            event.at,
            event.flow,
            event.topic,
            event.partition,
            event.before,
            event.after,
            event.reason,
            event.text,
        )
        try:
            self._connection.execute(
                "INSERT INTO event (at, flow, topic, part, before, after, reason, text)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            self._added += 1
            if self._added % _TRIM_EVERY == 0:
                self._connection.execute("DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?", (EVENTS_MAX,))
        except sqlite3.Error as error:
            raise self._file.fault("cannot be written", error) from error

    def recent(self, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """See `Store.recent`."""
        query = (
            "SELECT at, flow, topic, part, before, after, reason, text FROM event"
            " WHERE flow = ? AND (? IS NULL OR topic = ?) ORDER BY id DESC LIMIT ?"
        )
        try:
            rows = self._connection.execute(query, (flow, topic, topic, limit)).fetchall()
        except sqlite3.Error as error:
            raise self._file.fault("cannot be read", error) from error
        return [Event(*row) for row in reversed(rows)]

    def note_cluster(self, flow: str, alias: str, cluster_id: str) -> None:
        """See `Store.note_cluster`."""
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO cluster (flow, alias, id) VALUES (?, ?, ?)", (flow, alias, cluster_id)
            )
        except sqlite3.Error as error:
            raise self._file.fault("cannot be written", error) from error
        self._clusters[flow, alias] = cluster_id

    def noted_cluster(self, flow: str, alias: str) -> str | None:
        """See `Store.noted_cluster`."""
        return self._clusters.get((flow, alias))

    def _read_clusters(self) -> dict[tuple[str, str], str]:
        try:
            rows = self._connection.execute("SELECT flow, alias, id FROM cluster").fetchall()
        except sqlite3.Error as error:
            raise self._file.fault("cannot be read", error) from error
        return {(str(flow), str(alias)): str(cluster_id) for flow, alias, cluster_id in rows}

    def close(self) -> None:
        """See `Store.close`."""
        self._file.close()
