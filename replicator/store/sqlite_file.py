"""How a SQLite file of ours is opened, and what its errors mean."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from replicator.errors import StoreDamaged, StoreError, StoreFull
from replicator.files import check_private, open_private

_BUSY_SECONDS = 2.0
SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file, behind its name."""
_KINDS: dict[int | None, type[StoreError]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_NOTADB: StoreDamaged,
    sqlite3.SQLITE_CORRUPT: StoreDamaged,
}


class SqliteFile:
    """A file in WAL mode: a crash in the middle of a write leaves the earlier ones whole.

    Args:
        path: Where it is.
        schema: Statements that make its tables where they are missing.
        holds: What is lost with it, for messages.

    Raises:
        StoreFull: There is no room for it.
        StoreDamaged: It is no such file, or not whole: nothing of it is used.
        StoreError: It cannot be opened, or is not this user's alone.
    """

    def __init__(self, path: Path, schema: str, holds: str) -> None:
        self._path = path
        self._holds = holds
        self._make()
        try:
            # Used in one thread at a time, not always the one that opened it: its owner sees to that.
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
        """Make the file, for this user alone: SQLite gives those beside it the same mode, and follows links."""
        try:
            if not check_private(self._path):
                with contextlib.suppress(FileExistsError):  # somebody else made it just now
                    os.close(open_private(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            for suffix in SIDE_FILES:
                check_private(Path(f"{self._path}{suffix}"))
        except OSError as error:
            raise self.fault("cannot be opened", error.strerror or type(error).__name__) from error

    def _close_quietly(self) -> None:
        with contextlib.suppress(AttributeError, sqlite3.Error):
            self.connection.close()

    def close(self) -> None:
        """Let go of it; safe to call twice."""
        self.connection.close()

    def fault(self, what: str, why: object, kind: type[StoreError] = StoreError) -> StoreError:
        """Return the error for something SQLite said."""
        code = getattr(why, "sqlite_errorcode", None)
        return _KINDS.get(code, kind)(
            f"{self._path} {what}",
            why=str(why),
            next_step=f"free disk space, or delete {self._path}: it only holds {self._holds}",
        )
