"""Leases in a SQLite file in the state directory, read and written in a thread, since a disk may hang."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import zlib
from typing import TYPE_CHECKING

from replicator.aio.threads import Threads
from replicator.model.lease import Versioned
from replicator.store.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FILE = "leases.db"
_POLL_SECONDS = 0.1
"""How often the file is checked while somebody waits for a change: another process may make it."""
_ROWS_AT_ONCE = 32

_LAST = chr(0x10FFFF)
"""Appended to a prefix, it sorts after every key with that prefix."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS lease (
  key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;
"""


class SqliteLeases:
    """See `LeaseStore`; several processes may use one file.

    Raises:
        StoreFull: There is no room for the file.
        StoreError: It cannot be opened, or is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._file = SqliteFile(directory / _FILE, _SCHEMA, "leases, which daemons acquire again")
        self._in_thread = Threads("leases", 1).run  # one thread: SQLite reports changed rows by connection
        self._writes = 0
        self._reading: asyncio.Future[int] | None = None
        self._read_at = -math.inf

    async def read(self, key: str) -> Versioned | None:
        """See `LeaseStore.read`."""
        return await self._in_thread(self._read, key)

    def _read(self, key: str) -> Versioned | None:
        try:
            row = self._file.connection.execute(
                "SELECT value, revision, checksum FROM lease WHERE key = ?", (key,)
            ).fetchone()
        except sqlite3.Error as error:
            raise self._file.fault("cannot be read", error) from error
        return None if row is None else self._checked(key, *row)

    def _checked(self, key: str, value: bytes, revision: int, checksum: int) -> Versioned:
        """Return a row after checking its content: SQLite checks only its own pages."""
        if _checksum(key, value, revision) != checksum:
            raise self._file.fault("is damaged", f"the value of {key} is not what was written")
        return Versioned(value, revision)

    async def read_all(self, prefix: str) -> Mapping[str, Versioned]:
        """See `LeaseStore.read_all`."""
        found: dict[str, Versioned] = {}
        after = ""
        while rows := await self._in_thread(self._rows, prefix, after):
            found |= {key: self._checked(key, value, *row) for key, value, *row in rows}
            after = rows[-1][0]
        return found

    def _rows(self, prefix: str, after: str) -> list[tuple[str, bytes, int, int]]:
        """Return the next rows of a prefix, without reading the others."""
        try:
            return self._file.connection.execute(
                "SELECT key, value, revision, checksum FROM lease WHERE key >= ? AND key < ? AND key > ?"
                " ORDER BY key LIMIT ?",
                (prefix, f"{prefix}{_LAST}", after, _ROWS_AT_ONCE),
            ).fetchall()
        except sqlite3.Error as error:
            raise self._file.fault("cannot be read", error) from error

    async def compare_and_set(self, key: str, value: bytes, expected: int) -> Versioned | None:
        """See `LeaseStore.compare_and_set`."""
        written = await self._in_thread(self._compare_and_set, key, value, expected)
        if written is not None:
            self._writes += 1
        return written

    def _compare_and_set(self, key: str, value: bytes, expected: int) -> Versioned | None:
        """Change a row in one statement, so in one transaction."""
        revision = expected + 1
        checksum = _checksum(key, value, revision)
        try:
            if expected == 0:
                done = self._file.connection.execute(
                    "INSERT INTO lease VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (key, value, revision, checksum)
                )
            else:
                done = self._file.connection.execute(
                    "UPDATE lease SET value = ?, revision = ?, checksum = ? WHERE key = ? AND revision = ?",
                    (value, revision, checksum, key, expected),
                )
        except sqlite3.Error as error:
            raise self._file.fault("cannot be written", error) from error
        return Versioned(value, revision) if done.rowcount == 1 else None

    async def wait_for_change(self, key: str, revision: int, timeout_seconds: float) -> Versioned | None:
        """See `LeaseStore.wait_for_change`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        seen: tuple[int, int] | None = None
        while True:
            now = await self._version()
            if now != seen:
                seen = now
                found = await self.read(key)
                if found is not None and found.revision != revision:
                    return found
            left = deadline - loop.time()
            if left <= 0:
                return None
            await asyncio.sleep(min(_POLL_SECONDS, left))

    async def _version(self) -> tuple[int, int]:
        """Return a value that changes with the file, at most 0.1 s old: all who wait share one look."""
        loop = asyncio.get_running_loop()
        reading = self._reading
        if reading is None or (reading.done() and loop.time() - self._read_at >= _POLL_SECONDS):
            self._read_at = loop.time()
            reading = self._reading = asyncio.ensure_future(self._in_thread(self._data_version))
        # Cancelling one caller must not cancel the look for the others.
        return await asyncio.shield(reading), self._writes

    def _data_version(self) -> int:
        """Return a number that changes when another connection writes."""
        try:
            return int(self._file.connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise self._file.fault("cannot be read", error) from error

    async def close(self) -> None:
        """See `LeaseStore.close`."""
        self._file.close()


def _checksum(key: str, value: bytes, revision: int) -> int:
    return zlib.crc32(b"%d %s " % (revision, key.encode()) + value)
