"""Compares two streams of records of one partition that should be equal at equal offsets.

Pure: it is fed chunks of rows from both sides and hands back what it could not use yet. Equal stretches are
compared as whole lists, in C; only a stretch that differs is walked record by record.

Compacted topics: each cluster's cleaner removes superseded records in its own time, so a record may be on one
side only. Such a record is *excused* if it is not the last of its key within the range, or if it is a
tombstone; the last record of a key is never removed, so if it is missing, that is a difference.
"""

from __future__ import annotations

import enum
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from replicator.core.verify.rows import (
    DIGEST_BYTES,
    Field,
    Headers,
    Large,
    ManyHeaders,
    Name,
    Row,
    Unopened,
    row_bytes,
    short_digest,
)
from replicator.errors import TooLargeToOpen

_OFFSET: Final = 0
_TIME: Final = 1
_KEY: Final = 2
_VALUE: Final = 3
_HEADERS: Final = 4
_PENDING_KEYS_MAX = 1_000_000


class Kind(enum.StrEnum):
    """How a record differs. If several fields do, the first of key, value, headers, timestamp."""

    MISSING = "missing_on_target"
    EXTRA = "extra_on_target"
    KEY = "key"
    VALUE = "value"
    HEADERS = "headers"
    TIMESTAMP = "timestamp"
    ORDER = "offset_order"


@dataclass(frozen=True, slots=True)
class Difference:
    """One record that differs. `detail` gives sizes and digests, never the payload itself."""

    partition: int
    offset: int
    kind: Kind
    detail: str


@dataclass(frozen=True, slots=True)
class Questions:
    """How one-sided records of a compacted topic are held until a later record of their key is seen.

    Attributes:
        held_max: How many are held; bounds the memory.
        beyond_differ: Whether those above that count as differences (rather a false alarm than none), or as
            `RecordDiff.unjudged`.
    """

    held_max: int = _PENDING_KEYS_MAX
    beyond_differ: bool = True


class RecordDiff:
    """Compares one partition; `first_max` differences are kept, all are counted.

    Args:
        partition: Its number.
        compacted: Whether a cleaner runs on one of the sides.
        first_max: How many differences are kept.
        questions: How one-sided records of a compacted topic are held.
        report: Called with each difference.
        digests: Whether `digest` and `bytes` are wanted.

    Attributes:
        records: Records found on both sides, equal or not.
        bytes: Size of the source's records as compared: key, value, headers, offset and time.
        excused: Records on one side only that compaction explains.
        unjudged: Records on one side only that could not be held, and were not judged.
        counts: Differences by kind.
        first: The first differences, by offset.
    """

    def __init__(
        self,
        partition: int,
        *,
        compacted: bool = False,
        first_max: int = 10,
        questions: Questions | None = None,
        report: Callable[[Difference], None] | None = None,
        digests: bool = True,
    ) -> None:
        self.records = 0
        self.bytes = 0
        self.excused = 0
        self.unjudged = 0
        self.counts: Counter[Kind] = Counter()
        self._questions = questions or Questions()
        self._report = report
        self._digests = digests
        self._partition = partition
        self._compacted = compacted
        self._first_max = first_max
        self._first: list[Difference] = []
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._last = [-1, -1]
        # Digest of the key -> the one-sided record that is an open question until a later one of its key is seen.
        self._pending: dict[bytes, Difference] = {}

    @property
    def first(self) -> tuple[Difference, ...]:
        """The first differences, by offset."""
        return tuple(sorted(self._first, key=lambda found: found.offset)[: self._first_max])

    @property
    def digest(self) -> str:
        """Digest of the source's records that were compared, the same for the same records on any run."""
        return self._hash.hexdigest()

    def feed(
        self, source: list[Row], target: list[Row], *, source_done: bool, target_done: bool
    ) -> tuple[list[Row], list[Row]]:
        """Compare what can be compared and return the rows that wait for more of the other side.

        Args:
            source: Rows left over from before, followed by new ones.
            target: The same for the target.
            source_done: No rows will follow these of the source.
            target_done: No rows will follow these of the target.

        Raises:
            TooLargeToOpen: A batch that cannot be opened is not stored alike on both sides.
        """
        while source and target:
            count = min(len(source), len(target))
            left, right = source[:count], target[:count]
            if left == right:
                self._equal(left)
                source, target = source[count:], target[count:]
            else:
                used_source, used_target = self._walk(left, right)
                source, target = source[used_source:], target[used_target:]
        if target_done:
            source = self._rest(source, Kind.MISSING)
        if source_done:
            target = self._rest(target, Kind.EXTRA)
        return source, target

    def finish(self) -> None:
        """Settle the questions left open by compaction; call once, after the last feed."""
        self.settle()

    @property
    def open_questions(self) -> int:
        """How many one-sided records wait for a later record of their key."""
        return len(self._pending)

    def settle(self, below: int | None = None) -> None:
        """Count every open question as a difference, or only those below an offset.

        If the comparison continues, call it once both logs were compared up to the ends that they had when the records
        below that offset had been read: a later record of their keys would have been seen by then.
        """
        due = [key for key, found in self._pending.items() if below is None or found.offset < below]
        for key in due:
            self._note(self._pending.pop(key))

    def _equal(self, rows: list[Row]) -> None:
        self._digest(rows)
        self.records += len(rows)
        self._last = [rows[-1][_OFFSET]] * 2
        if self._pending:
            for row in rows:
                self._supersede(row)

    def _walk(self, source: list[Row], target: list[Row]) -> tuple[int, int]:
        """Merge by offset until one side is used up; return how much of each was used."""
        i = j = 0
        while i < len(source) and j < len(target):
            left, right = source[i], target[j]
            self._must_be_open(left, right)
            if left[_OFFSET] == right[_OFFSET]:
                self._pair(left, right)
                i, j = i + 1, j + 1
            elif left[_OFFSET] < right[_OFFSET]:
                self._one_sided(left, Kind.MISSING)
                i += 1
            else:
                self._one_sided(right, Kind.EXTRA)
                j += 1
        return i, j

    def _rest(self, rows: list[Row], kind: Kind) -> list[Row]:
        for row in rows:
            self._must_be_open(row)
            self._one_sided(row, kind)
        return []

    def _must_be_open(self, *rows: Row) -> None:
        """Return unless a row represents an unopened batch that is not the same on both sides.

        Raises:
            TooLargeToOpen: One does: its records, and so what follows on the other side, cannot be compared.
        """
        row = next((row for row in rows if isinstance(row[_KEY], Unopened)), None)
        if row is None or (len(rows) > 1 and rows[0] == rows[1]):
            return
        raise TooLargeToOpen(
            f"the batch at offset {row[_OFFSET]} of partition {self._partition} cannot be compared",
            why="it is too large to open, and the two sides store it differently",
            next_step=f"`kafka-console-consumer.sh --topic TOPIC --partition {self._partition} --offset {row[_OFFSET]} "
            "--bootstrap-server ADDRESS` shows what it holds, on each side",
            offset=row[_OFFSET],
        )

    def _pair(self, left: Row, right: Row) -> None:
        self._digest([left])
        self.records += 1
        self._supersede(left)
        if self._in_order(left, 0) and self._in_order(right, 1) and left != right:
            kind, detail = _explain(left, right)
            self._note(Difference(self._partition, left[_OFFSET], kind, detail))

    def _one_sided(self, row: Row, kind: Kind) -> None:
        if kind is Kind.MISSING:
            self._digest([row])
        if not self._in_order(row, 0 if kind is Kind.MISSING else 1):
            return
        self._supersede(row)
        found = Difference(self._partition, row[_OFFSET], kind, _describe(row))
        if not self._compacted or row[_KEY] is None:
            self._note(found)
        elif row[_VALUE] is None:
            self.excused += 1  # cleaners drop tombstones after delete.retention.ms
        elif len(self._pending) < self._questions.held_max:
            self._pending[_short(row[_KEY])] = found
        elif self._questions.beyond_differ:
            self._note(found)
        else:
            self.unjudged += 1

    def _supersede(self, row: Row) -> None:
        """A later record of a key excuses an earlier one that was on one side only."""
        key = row[_KEY]
        if self._pending and key is not None and self._pending.pop(_short(key), None) is not None:
            self.excused += 1

    def _in_order(self, row: Row, side: int) -> bool:
        offset, before = row[_OFFSET], self._last[side]
        self._last[side] = max(offset, before)
        if offset > before:
            return True
        where = ("source", "target")[side]
        self._note(Difference(self._partition, offset, Kind.ORDER, f"follows offset {before} on the {where}"))
        return False

    def _note(self, found: Difference) -> None:
        self.counts[found.kind] += 1
        if self._report is not None:
            self._report(found)
        self._first.append(found)
        if len(self._first) > self._first_max * 4:
            self._first = list(self.first)

    def _digest(self, rows: list[Row]) -> None:
        if not self._digests:
            return
        for blob in row_bytes(rows):
            self._hash.update(blob)
            self.bytes += len(blob)


def _explain(left: Row, right: Row) -> tuple[Kind, str]:
    """Return the first field that differs, and a text that names every field that does: source | target."""
    parts: list[tuple[Kind, str]] = []
    for kind, ours, theirs in ((Kind.KEY, left[_KEY], right[_KEY]), (Kind.VALUE, left[_VALUE], right[_VALUE])):
        if ours != theirs:
            parts.append((kind, f"{kind} {_blob(ours)} | {_blob(theirs)}{_first_byte(ours, theirs)}"))
    if left[_HEADERS] != right[_HEADERS]:
        parts.append((Kind.HEADERS, _headers(left[_HEADERS] or [], right[_HEADERS] or [])))
    if left[_TIME] != right[_TIME]:
        parts.append((Kind.TIMESTAMP, f"timestamp {left[_TIME]} | {right[_TIME]} ms"))
    return parts[0][0], "; ".join(text for _, text in parts)


def _headers(ours: Headers, theirs: Headers) -> str:
    if isinstance(ours, ManyHeaders) or isinstance(theirs, ManyHeaders):
        return f"{_many(ours)} | {_many(theirs)}"
    for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            return (
                f"header {index}: {_name(one[0])} {_blob(one[1])} | {_name(other[0])} {_blob(other[1])}"
                f"{_first_byte(one[1], other[1])}"
            )
    return f"{len(ours)} headers | {len(theirs)} headers"


def _many(headers: Headers) -> str:
    """Return their number, with the start of their digest if they are not in memory."""
    shown = f" ({headers.digest[:4].hex()})" if isinstance(headers, ManyHeaders) else ""
    return f"{len(headers)} headers{shown}"


def _describe(row: Row) -> str:
    return f"key {_blob(row[_KEY])}, value {_blob(row[_VALUE])}, timestamp {row[_TIME]} ms"


def _name(name: Name) -> str:
    return f"a name of {_blob(name)}" if isinstance(name, Large) else repr(name)


def _blob(data: Field) -> str:
    return "null" if data is None else f"{len(data)} B ({_short(data)[:4].hex()})"


def _first_byte(ours: Field, theirs: Field) -> str:
    """Return the first byte that differs; it is not known for fields that are not in memory."""
    if not isinstance(ours, bytes) or not isinstance(theirs, bytes):
        return ""
    pairs = enumerate(zip(ours, theirs, strict=False))
    at = next((index for index, (one, other) in pairs if one != other), min(len(ours), len(theirs)))
    return f", from byte {at}" if ours != theirs else ""


def _short(data: bytes | Large) -> bytes:
    return data.digest if isinstance(data, Large) else short_digest(data)
