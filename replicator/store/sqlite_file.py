"""How a SQLite file of ours is opened, and what its errors mean."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from replicator.errors import StoreError, StoreFull

if TYPE_CHECKING:
    from pathlib import Path

_BUSY_SECONDS = 2.0


class SqliteFile:
    """A file in WAL mode: a crash in the middle of a write leaves the earlier ones whole.

    Args:
        path: Where it is.
        schema: Statements that make its tables where they are missing.
        holds: What is lost with it, for messages.

    Raises:
        StoreFull: There is no room for it.
        StoreError: It cannot be opened, or is damaged: nothing of it is used.
    """

    def __init__(self, path: Path, schema: str, holds: str) -> None:
        self._path = path
        self._holds = holds
        try:
            self.connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=NORMAL")
            self.connection.executescript(schema)
            sound = self.connection.execute("PRAGMA quick_check").fetchone()[0]
        except sqlite3.Error as error:
            raise self.fault("cannot be opened", error) from error
        if sound != "ok":
            self.connection.close()
            raise self.fault("is damaged", str(sound))

    def close(self) -> None:
        """Let go of it; safe to call twice."""
        self.connection.close()

    def fault(self, what: str, why: object) -> StoreError:
        """Return the error for something SQLite said."""
        full = isinstance(why, sqlite3.Error) and why.sqlite_errorcode == sqlite3.SQLITE_FULL
        kind = StoreFull if full else StoreError
        return kind(
            f"{self._path} {what}",
            why=str(why),
            next_step=f"free disk space, or delete {self._path}: it only holds {self._holds}",
        )
