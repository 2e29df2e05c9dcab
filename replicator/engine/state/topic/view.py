"""What has been read of a state topic: never half a transaction, never a value with parts missing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from replicator.engine.state.topic import chunks as state_parts
from replicator.engine.state.topic.index import StateRecords
from replicator.errors import DamagedRecord
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from replicator.engine.state.topic.chunks import Note
    from replicator.wire.batches.records import Record

log = get_logger(__name__)


class Read(NamedTuple):
    """A batch as it was read; `records` is empty if it is passed over (aborted, or without any).

    `producer_id` belongs to a transaction that continues after this batch; None if the batch is not part of one.
    `ends` belongs to a transaction that this batch, a marker, ends; None for all other batches.
    """

    base_offset: int
    next_offset: int
    records: Iterable[Record] = ()
    producer_id: int | None = None
    ends: int | None = None


@dataclass(slots=True)
class _Rereading:
    """A reading from the log's start: the offset from which it can tell what is gone, and the keys seen so far.

    Values below `known` were read before, as were newer values of their keys: there, only the keys matter.
    """

    end: int
    known: int
    seen: set[bytes] = field(default_factory=set)


class StateView:
    """The records of a state topic, in the order of its log.

    A transaction may span several batches, and these several fetch responses. Whoever looked in between would find a
    role without its cuts. So nothing shows before its commit marker was read, nor does anything after it in the log.

    Attributes:
        records: Values by key, as committed so far.
        position: The offset up to which the log was read.
        notes: The notes of values stored in parts, by their own key.
        offsets: The offset of each record; None unless asked for.

    Args:
        keeps_offsets: Whether to keep the offsets.
    """

    def __init__(self, *, keeps_offsets: bool = False) -> None:
        self.records = StateRecords()
        self.offsets: dict[bytes, int] | None = {} if keeps_offsets else None
        self.position = 0
        self.notes: dict[bytes, Note] = {}
        self._parts: dict[bytes, bytes] = {}
        self._held: deque[tuple[bytes, bytes | None, int]] = deque()
        self._open: set[int] = set()
        self._incomplete: dict[bytes, bytes] = {}
        self._rereading: _Rereading | None = None
        self._listeners: list[Callable[[bytes], None]] = []

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Call `listener` with the key of every record that is read."""
        self._listeners.append(listener)

    def take(self, batches: Iterable[Read], stable: int) -> None:
        """Take the batches of a fetch response.

        Args:
            batches: In the order of the log; those that were taken before are passed over.
            stable: The last stable offset of the response: all transactions that began below it have ended.
        """
        went_on = False
        for batch in batches:
            if batch.next_offset <= self.position:
                continue
            went_on = True
            for record in batch.records:
                self._hold(record)
            if batch.producer_id is not None:
                self._open.add(batch.producer_id)
            if batch.ends is not None:
                self._open.discard(batch.ends)
            self.position = batch.next_offset
            if not self._open:
                self._show()
        if went_on and self.position >= stable:
            self._open.clear()  # a marker may have been cleaned away
        if not self._open:
            self._show()
            if self.position >= stable:
                self._show_incomplete()
        self._drop_what_is_gone()

    def start_over(self, start: int, end: int) -> None:
        """Start over at the log's start; records that do not reappear by `end` were deleted meanwhile."""
        self._show()  # fetches are read_committed, so what was read is committed
        known = max(self.position, self._rereading.known if self._rereading is not None else 0)
        # A log that ends below what was read has lost its end: its contents may be a different history by now.
        self._rereading = _Rereading(end, known if known <= end else 0)
        self.position = start
        self._drop_what_is_gone()

    def _hold(self, record: Record) -> None:
        if record.offset < self.position or record.key is None:
            return
        if self._rereading is not None:
            self._rereading.seen.add(record.key)
            if record.offset < self._rereading.known:
                return
        self._held.append((record.key, record.value, record.offset))

    def _show(self) -> None:
        """Make everything read so far visible; if a listener raises, its record stays read, the rest is shown later."""
        self._open.clear()
        while self._held:
            key, value, offset = self._held.popleft()
            if state_parts.is_part(key):
                _put(self._parts, key, value)
                continue
            if self.offsets is not None:
                self.offsets[key] = offset
            self._put(key, value)

    def _put(self, key: bytes, value: bytes | None) -> None:
        self._incomplete.pop(key, None)
        note = state_parts.note_of(value) if value is not None else None
        if note is None:
            self.notes.pop(key, None)
        else:
            self.notes[key] = note
            head, value = value, state_parts.joined(key, note, self._parts)
            if head is not None and value is None:
                self._incomplete[key] = head  # the cleaner may have left only an old head; a newer one may follow
                return
        if value is None:
            self.records.pop(key, None)
        else:
            self.records[key] = value
        self._notify(key)

    def _show_incomplete(self) -> None:
        """Show the heads of values that lack parts, once the log was read to its end: these values are unreadable."""
        while self._incomplete:
            key, head = self._incomplete.popitem()
            log.error("a record of the state topic lacks parts", key=key.hex())
            self.records[key] = head
            self._notify(key)

    def _drop_what_is_gone(self) -> None:
        """Once everything was read again, drop the records that were not seen."""
        rereading = self._rereading
        if rereading is None or self.position < rereading.end:
            return
        self._rereading = None
        for part in [key for key in self._parts if key not in rereading.seen]:
            del self._parts[part]
        for key in [key for key in self.records if key not in rereading.seen]:
            self.notes.pop(key, None)
            del self.records[key]
            self._notify(key)
        if self.offsets is not None:
            self.offsets = {key: at for key, at in self.offsets.items() if key in self.records}

    def _notify(self, key: bytes) -> None:
        for listener in self._listeners:
            try:
                listener(key)
            except DamagedRecord as error:  # reading it raises again for its users; the other listeners go on
                log.warning("a record cannot be read", why=str(error), next=error.next_step)


def _put(values: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value
