"""Events in a SQLite file of the state directory, so that `mirror describe --events` survives a restart."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from replicator.errors import StoreError, StoreFull
from replicator.model.events import Event
from replicator.store.port import EVENTS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FILE = "replicator.db"
_BUSY_SECONDS = 2.0
_TRIM_EVERY = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL, flow TEXT NOT NULL, topic TEXT, part INTEGER,
  before TEXT, after TEXT, reason TEXT, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS event_by_flow ON event (flow, topic, id);
"""


class SqliteStore:
    """Keeps events in a file (WAL mode: a crash in the middle of a write leaves the earlier ones whole).

    Raises:
        StoreFull: There is no room for it.
        StoreError: The file cannot be opened or is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE
        self._added = 0
        try:
            self._connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_SCHEMA)
            sound = self._connection.execute("PRAGMA quick_check").fetchone()[0]
        except sqlite3.Error as error:
            raise self._fault("cannot be opened", error) from error
        if sound != "ok":
            self._connection.close()
            raise self._fault("is damaged", str(sound))

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
            raise self._fault("cannot be written", error) from error

    def recent(self, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """See `Store.recent`."""
        query = (
            "SELECT at, flow, topic, part, before, after, reason, text FROM event"
            " WHERE flow = ? AND (? IS NULL OR topic = ?) ORDER BY id DESC LIMIT ?"
        )
        try:
            rows = self._connection.execute(query, (flow, topic, topic, limit)).fetchall()
        except sqlite3.Error as error:
            raise self._fault("cannot be read", error) from error
        return [Event(*row) for row in reversed(rows)]

    def close(self) -> None:
        """See `Store.close`."""
        self._connection.close()

    def _fault(self, what: str, why: object) -> StoreError:
        full = isinstance(why, sqlite3.Error) and why.sqlite_errorcode == sqlite3.SQLITE_FULL
        kind = StoreFull if full else StoreError
        return kind(
            f"{self._path} {what}",
            why=str(why),
            next_step=f"free disk space, or delete {self._path}: it only holds the history of events",
        )
