"""Opens our SQLite files, and interprets their errors."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from replicator.errors import StoreDamaged, StoreError, StoreFull
from replicator.files import check_private, open_private

_BUSY_SECONDS = 2.0
SIDE_FILES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps next to a file."""
_KINDS: dict[int | None, type[StoreError]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_NOTADB: StoreDamaged,
    sqlite3.SQLITE_CORRUPT: StoreDamaged,
}


class SqliteFile:
    """A file in WAL mode: a crash in the middle of a write leaves earlier writes intact.

    Args:
        path: Where it is.
        schema: Statements that create its tables if they are missing.
        holds: What is lost with it, for messages.

    Raises:
        StoreFull: There is no room for it.
        StoreDamaged: It is not a SQLite file, or it is damaged: nothing in it is used.
        StoreError: It cannot be opened, or other users can access it.
    """

    def __init__(self, path: Path, schema: str, holds: str) -> None:
        self._path = path
        self._holds = holds
        self._make()
        try:
            # Its owner uses it in one thread at a time, which is not always the one that opened it.
            self.connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=NORMAL")
            self.connection.executescript(schema)
            sound = self.connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            self._close_quietly()
            raise self.fault("cannot be opened", error) from error
        if sound != "ok":
            self.connection.close()
            raise self.fault("is damaged", str(sound), StoreDamaged)

    def _make(self) -> None:
        """Create the file for this user only: SQLite gives its side files the same mode, and follows links."""
        try:
            if not check_private(self._path):
                with contextlib.suppress(FileExistsError):  # somebody else has just created it
                    os.close(open_private(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            for suffix in SIDE_FILES:
                check_private(Path(f"{self._path}{suffix}"))
        except OSError as error:
            raise self.fault("cannot be opened", error.strerror or type(error).__name__) from error

    def _close_quietly(self) -> None:
        with contextlib.suppress(AttributeError, sqlite3.Error):
            self.connection.close()

    def close(self) -> None:
        """Close it; safe to call twice."""
        self.connection.close()

    def fault(self, what: str, why: object, kind: type[StoreError] = StoreError) -> StoreError:
        """Return our error for an error of SQLite."""
        code = getattr(why, "sqlite_errorcode", None)
        return _KINDS.get(code, kind)(
            f"{self._path} {what}",
            why=str(why),
            next_step=f"free disk space, or delete {self._path}: it holds only {self._holds}",
        )
