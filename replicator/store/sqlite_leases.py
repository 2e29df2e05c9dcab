"""Leases in a SQLite file of the state directory. A call takes a tenth of a millisecond, so it is made on the loop."""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from typing import TYPE_CHECKING

from replicator.model.lease import Versioned
from replicator.store.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FILE = "leases.db"
_LOOK_SECONDS = 0.1
"""Another process may change the file: it is looked at that often while somebody waits for a change."""
_ROWS_AT_ONCE = 32
_LAST = chr(0x10FFFF)
"""Of all keys that begin alike, the one that goes on like this would be the last."""
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
        self._file = SqliteFile(directory / _FILE, _SCHEMA, "leases, which daemons acquire anew")

    async def read(self, key: str) -> Versioned | None:
        """See `LeaseStore.read`."""
        return self._read(key)

    def _read(self, key: str) -> Versioned | None:
        try:
            row = self._file.connection.execute(
                "SELECT value, revision, checksum FROM lease WHERE key = ?", (key,)
            ).fetchone()
        except sqlite3.Error as error:
            raise self._file.fault("cannot be read", error) from error
        return None if row is None else self._checked(key, *row)

    def _checked(self, key: str, value: bytes, revision: int, checksum: int) -> Versioned:
        """Return a row; SQLite looks at its own pages, not at what is in them."""
        if _checksum(key, value, revision) != checksum:
            raise self._file.fault("is damaged", f"what it holds of {key} is not what was written")
        return Versioned(value, revision)

    async def read_all(self, prefix: str) -> Mapping[str, Versioned]:
        """See `LeaseStore.read_all`."""
        found: dict[str, Versioned] = {}
        after = ""
        while rows := self._rows(prefix, after):
            found |= {key: self._checked(key, value, *row) for key, value, *row in rows}
            after = rows[-1][0]
            if len(rows) == _ROWS_AT_ONCE:
                await asyncio.sleep(0)  # the rest of the daemon has its turn
        return found

    def _rows(self, prefix: str, after: str) -> list[tuple[str, bytes, int, int]]:
        """Return the next rows of a prefix, without a look at those of others."""
        try:
            return self._file.connection.execute(
                "SELECT key, value, revision, checksum FROM lease WHERE key >= ? AND key < ? AND key > ?"
                " ORDER BY key LIMIT ?",
                (prefix, f"{prefix}{_LAST}", after, _ROWS_AT_ONCE),
            ).fetchall()
        except sqlite3.Error as error:
            raise self._file.fault("cannot be read", error) from error

    async def compare_and_set(self, key: str, value: bytes, expected: int) -> Versioned | None:
        """See `LeaseStore.compare_and_set`: one statement, so one transaction."""
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
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while True:
            found = self._read(key)
            if found is not None and found.revision != revision:
                return found
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await asyncio.sleep(min(_LOOK_SECONDS, left))

    async def close(self) -> None:
        """See `LeaseStore.close`."""
        self._file.close()


def _checksum(key: str, value: bytes, revision: int) -> int:
    return zlib.crc32(b"%d %s " % (revision, key.encode()) + value)
