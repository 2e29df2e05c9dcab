"""Events in a SQLite file of the state directory, so that `mirror describe --events` survives a restart.

With them, which clusters the flows met: a flow whose source is gone is known by it after a restart.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from replicator.model.events import Event
from replicator.store.port import EVENTS_MAX
from replicator.store.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FILE = "replicator.db"
_TRIM_EVERY = 500
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
    """Keeps events in a file.

    Raises:
        StoreFull: There is no room for it.
        StoreError: The file cannot be opened or is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._file = SqliteFile(directory / _FILE, _SCHEMA, "the history of events")
        self._connection = self._file.connection
        self._added = 0

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

    def noted_cluster(self, flow: str, alias: str) -> str | None:
        """See `Store.noted_cluster`."""
        try:
            row = self._connection.execute(
                "SELECT id FROM cluster WHERE flow = ? AND alias = ?", (flow, alias)
            ).fetchone()
        except sqlite3.Error as error:
            raise self._file.fault("cannot be read", error) from error
        return str(row[0]) if row is not None else None

    def close(self) -> None:
        """See `Store.close`."""
        self._file.close()
