"""The audit log: every change by an operator, in append-only JSON lines, each with the hash of the one before.

A change is recorded *before* it is made (its intent) and after it (its outcome). If the intent cannot be
written, the change is not made. Files are named after the number of their first entry; none is deleted or shortened.

*Refused* calls have separate files, with a budget: refused callers must not be able to fill the disk. Their chain
starts with the oldest file that is left.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.core.acl.audit_chain import GENESIS, Line, decode, digest, encode
from replicator.errors import StoreError, StoreFull
from replicator.files import open_private, open_regular
from replicator.model.operations.audit import AuditEntry, Phase
from replicator.model.text import command
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CHANGES, REFUSALS = "audit", "refused"
_FILE_BYTES_MAX = 16 << 20
_TEXT_CHARS_MAX = 4000
_REFUSED_FILE_BYTES_MAX = 4 << 20
_REFUSED_FILES_MAX = 2
_REFUSED_TEXT_CHARS_MAX = 200
_READ_FILES_MAX = 4

log = get_logger(__name__)


class AuditLog:
    """A log of one daemon, in its state directory. Its methods block on the disk; any thread may call them.

    Args:
        directory: Where its files are.
        file_bytes_max: Above this size a new file is started.
        name: Prefix of its files' names.
        files_max: How many are kept; None: all of them.
        text_chars_max: How many characters of each text are kept.
    """

    def __init__(
        self,
        directory: Path,
        file_bytes_max: int = _FILE_BYTES_MAX,
        *,
        name: str = CHANGES,
        files_max: int | None = None,
        text_chars_max: int = _TEXT_CHARS_MAX,
    ) -> None:
        self._directory = directory
        self._bytes_max = file_bytes_max
        self._name = name
        self._files_max = files_max
        self._chars_max = text_chars_max
        self._file: int | None = None
        self._size = 0
        self._seq = 0
        self._hash = GENESIS
        self._lock = threading.Lock()

    def append(self, entry: AuditEntry) -> int:
        """Write an entry, with its number, time and hash filled in; return its number once it is on disk.

        Raises:
            StoreFull: There is no room for it.
            StoreError: It cannot be written.
        """
        with self._lock:
            try:
                return self._append(entry)
            except OSError as error:
                self._forget()  # the files are read again before the next line
                raise _fault(self._directory, error) from error

    def _append(self, entry: AuditEntry) -> int:
        if self._file is None:
            self._open()
        if self._size >= self._bytes_max or self._is_gone():
            self._forget_file()
            self._begin_file()
            self._drop_oldest()
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        made = replace(_bounded(entry, self._chars_max), seq=self._seq + 1, at=at, previous=self._hash)
        self._write(encode(made))
        self._seq = made.seq
        return made.seq

    def _is_gone(self) -> bool:
        """Return whether the file was deleted while it was open: what is written to it would be lost."""
        if self._file is None or os.fstat(self._file).st_nlink:
            return False
        log.error("a file of the audit log was deleted", last=self._seq, next="replicator audit verify")
        return True

    def _write(self, line: bytes) -> None:
        if self._file is None:
            raise OSError(errno.EBADF, "not open")
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        os.fsync(self._file)
        self._size += len(line)
        self._hash = digest(line)

    def _open(self) -> None:
        """Find the end of the chain; complete a half-written last line, and note that it is one."""
        files = files_of(self._directory, self._name)
        if not files:
            self._begin_file()
            return
        for path in reversed(files):
            lines = _whole(path).splitlines(keepends=True)
            if lines:
                break
        else:
            self._use(files[-1])
            return
        self._use(files[-1])
        known = next((one.seq for raw in reversed(lines) if (one := decode(raw)) is not None), 0)
        # If no line of a file is an entry, its name still shows which numbers were used.
        self._seq = max(known, first_of(path) - 1)
        self._hash = digest(lines[-1])
        if decode(lines[-1]) is None or not lines[-1].endswith(b"\n"):
            self._note_torn(lines[-1])

    def _note_torn(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            self._write(b"\n")
            self._hash = digest(line + b"\n")
        log.error("the last line of the audit log is not an entry", bytes=len(line))
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        text = f"the line before is not an entry ({len(line)} bytes): half-written (a crash, a full disk), or changed"
        note = AuditEntry(self._seq + 1, at, Phase.TORN, error=text, previous=self._hash)
        self._write(encode(note))
        self._seq = note.seq

    def _begin_file(self) -> None:
        self._use(self._directory / f"{self._name}-{self._seq + 1:012}.jsonl")

    def _drop_oldest(self) -> None:
        for path in files_of(self._directory, self._name)[: -self._files_max] if self._files_max is not None else ():
            path.unlink(missing_ok=True)

    def _use(self, path: Path) -> None:
        self._file = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._size = os.fstat(self._file).st_size

    def recent(self, wanted: Callable[[str], bool], limit: int) -> Sequence[AuditEntry]:
        """Return at most `limit` entries about wanted flows, newest last; only the last few files are read.

        Raises:
            StoreError: They cannot be read.
        """
        found: deque[AuditEntry] = deque(maxlen=limit)
        for line in lines_of(files_of(self._directory, self._name)[-_READ_FILES_MAX:]):
            entry = decode(line.raw)
            if entry is not None and wanted(entry.flow):
                found.append(entry)
        return list(found)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._forget_file()
        self._seq, self._hash = 0, GENESIS

    def _forget_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Audit:
    """A daemon's record of its operators: every change forever, and refusals as far as their budget goes.

    Its methods block on the disk; any thread may call them.
    """

    def __init__(self, directory: Path) -> None:
        self._changes = AuditLog(directory)
        self._refusals = AuditLog(
            directory,
            _REFUSED_FILE_BYTES_MAX,
            name=REFUSALS,
            files_max=_REFUSED_FILES_MAX,
            text_chars_max=_REFUSED_TEXT_CHARS_MAX,
        )

    def append(self, entry: AuditEntry) -> int:
        """Write an entry; return its number once it is on disk.

        Raises:
            StoreFull: There is no room for it.
            StoreError: It cannot be written.
        """
        return (self._refusals if entry.phase is Phase.REFUSED else self._changes).append(entry)

    def recent(self, wanted: Callable[[str], bool], limit: int) -> Sequence[AuditEntry]:
        """Return at most `limit` entries about wanted flows, newest last.

        Raises:
            StoreError: They cannot be read.
        """
        changes, refusals = self._changes.recent(wanted, limit), self._refusals.recent(wanted, limit)
        # Merged, not sorted: each log keeps its own order, even if the clock was set back. Of entries with the same
        # time the changes count as newer, so that refused callers do not push them out.
        return list(merge(refusals, changes, key=lambda entry: entry.at))[-limit:]

    def close(self) -> None:
        """Close its files; safe to call twice."""
        self._changes.close()
        self._refusals.close()


def files_of(directory: Path, name: str = CHANGES) -> list[Path]:
    """Return the files of a log, oldest first."""
    return sorted(directory.glob(f"{name}-*.jsonl"))


def first_of(path: Path) -> int:
    """Return the number of the first entry in a file of a log, 0 if its name does not contain it."""
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdecimal() else 0


def _whole(path: Path) -> bytes:
    """Return the content of a file that we will append to; links are not followed."""
    with os.fdopen(open_private(path, os.O_RDONLY), "rb") as file:
        return file.read()


def lines_of(files: Sequence[Path]) -> Iterator[Line]:
    """Yield every line of some files.

    Raises:
        StoreError: One of them cannot be read, or is not a regular file.
    """
    for path in files:
        try:
            with open_regular(path) as file:
                for number, raw in enumerate(file, 1):
                    begins = (path.name, first_of(path)) if number == 1 else ()
                    yield Line(f"{path} line {number}", raw, *begins)
        except OSError as error:
            raise StoreError(
                f"{path}, a file of the audit log, cannot be read",
                why=error.strerror or str(error),
                next_step=f"see what it is: {command('ls', '-ld', str(path))}",
            ) from error


def _bounded(entry: AuditEntry, chars_max: int) -> AuditEntry:
    """Shorten texts, which a caller may have made of any length."""
    texts = {
        name: getattr(entry, name)[:chars_max]
        for name in ("actor", "peer", "flow", "topic", "reason", "before", "after", "error")
    }
    return replace(entry, **texts)


def _fault(directory: Path, error: OSError) -> StoreError:
    kind = StoreFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else StoreError
    return kind(
        f"the audit log in {directory} cannot be written",
        why=error.strerror or str(error),
        next_step=f"free some space (df -h {directory}), then repeat the command: without the log nothing is changed",
    )
