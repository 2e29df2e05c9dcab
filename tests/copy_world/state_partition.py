"""The partition of `replicator.state` on the model's target, and the coordinator of transactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from replicator.engine.state.topic.index import StateRecords
from replicator.engine.state.topic.view import Read as ReadBatch
from replicator.engine.state.topic.view import StateView
from replicator.model.batch import TRANSACTIONAL_BIT
from replicator.model.names import STATE_TOPIC
from replicator.model.spec import Isolation
from replicator.wire.batches.batch import scan
from replicator.wire.batches.records import decode
from tests.copy_world.batches import marker_bytes, placed

if TYPE_CHECKING:
    from collections.abc import Callable

OUT_OF_RANGE = 1
FENCED = 90
INVALID_EPOCH = 47
TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
LEADER_EPOCH = 0
TRANSACTION_TIMEOUT_MS = 30_000


class Stored(NamedTuple):
    """One batch of the log."""

    base: int
    next_offset: int
    producer_id: int
    raw: bytes


@dataclass(slots=True)
class Transactional:
    """What the coordinator knows of one transactional id."""

    producer_id: int
    epoch: int = -1
    began_ms: int = 0
    enlisted: dict[tuple[str, int], None] = field(default_factory=dict)


@dataclass
class StatePartition:
    """Its log. What is appended is committed at once: this log is not what is under test.

    Attributes:
        is_down: Whether nothing of it can be read or written.
        changed: Rises with each append.
        records: What is committed, by key.
    """

    is_down: bool = False
    changed: int = 0
    log: list[Stored] = field(default_factory=list)
    aborted: list[tuple[int, int, int]] = field(default_factory=list)
    _open: dict[int, int] = field(default_factory=dict)
    _view: StateView = field(default_factory=lambda: StateView(keeps_offsets=False))

    @property
    def end(self) -> int:
        """The log's end."""
        return self.log[-1].next_offset if self.log else 0

    @property
    def stable(self) -> int:
        """The last stable offset."""
        return min(self._open.values(), default=self.end)

    @property
    def records(self) -> StateRecords:
        """Value by key, as committed."""
        return self._view.records

    def append(self, raw: bytes) -> int:
        """Append a batch; return its base offset."""
        header = scan(raw, 0, len(raw))[0]
        base = self.end
        self.log.append(Stored(base, base + header.record_count, header.producer_id, placed(raw, base, LEADER_EPOCH)))
        if header.is_transactional:
            self._open.setdefault(header.producer_id, base)
        self._show()
        return base

    def mark(self, producer_id: int, epoch: int, now_ms: int, *, commit: bool) -> None:
        """Write the marker that ends a transaction."""
        raw = marker_bytes(producer_id, epoch, now_ms, commit=commit)
        base = self.end
        first = self._open.pop(producer_id, None)
        if first is not None and not commit:
            self.aborted.append((producer_id, first, base))
        self.log.append(Stored(base, base + 1, producer_id, placed(raw, base, LEADER_EPOCH)))
        self._show()

    def batches_from(self, offset: int, *, isolation: Isolation, batches_max: int) -> list[Stored]:
        """Return what a fetch gives."""
        end = self.stable if isolation is Isolation.READ_COMMITTED else self.end
        return [each for each in self.log if each.next_offset > offset and each.base < end][:batches_max]

    def aborted_in(self, given: list[Stored]) -> tuple[tuple[int, int], ...]:
        """Return (producer id, first offset) of the aborted transactions that reach into some batches."""
        if not given:
            return ()
        begin, end = given[0].base, given[-1].next_offset
        return tuple((producer, first) for producer, first, last in self.aborted if first < end and last >= begin)

    def _show(self) -> None:
        """Take what has become committed; the view under it is the daemons' own, the log is the judge of it."""
        self.changed += 1
        stable, position = self.stable, self._view.position
        aborted = {(producer, first): last for producer, first, last in self.aborted}
        batches = []
        for each in self.log:
            if each.next_offset <= position or each.base >= stable:
                continue
            header = scan(each.raw, 0, len(each.raw))[0]
            gone = any(
                producer == each.producer_id and first <= each.base <= last
                for (producer, first), last in aborted.items()
            )
            if header.is_control:
                batches.append(ReadBatch(each.base, each.next_offset, ends=header.producer_id))
            elif gone:
                batches.append(ReadBatch(each.base, each.next_offset))
            else:
                producer = header.producer_id if header.attributes & TRANSACTIONAL_BIT else None
                batches.append(ReadBatch(each.base, each.next_offset, decode(each.raw, header), producer))
        self._view.take(batches, stable)


@dataclass
class Coordinator:
    """The coordinator of all transactional ids. Its markers are written at once."""

    mark: Callable[[tuple[str, int], int, int, bool], None]
    now_ms: Callable[[], int]
    known: dict[str, Transactional] = field(default_factory=dict)
    denies: bool = False
    _next_id: int = 5000

    def begin(self, name: str) -> tuple[int, int]:
        """Return the producer id and its next epoch; what is open is aborted first."""
        found = self.known.get(name)
        if found is None:
            self._next_id += 1
            found = self.known[name] = Transactional(self._next_id)
        # An abort for a newer epoch carries it: what the older one still sends is refused (KIP-360).
        found.epoch += 1
        self._end(found, commit=False)
        return found.producer_id, found.epoch

    def add(self, name: str, producer_id: int, epoch: int, partitions: list[tuple[str, int]]) -> int:
        """Enlist partitions; return an error code."""
        if self.denies and any(topic != STATE_TOPIC for topic, _ in partitions):
            return TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        code = self._check(name, producer_id, epoch)
        if not code:
            found = self.known[name]
            if not found.enlisted:
                found.began_ms = self.now_ms()
            found.enlisted.update(dict.fromkeys(partitions))
        return code

    def end(self, name: str, producer_id: int, epoch: int, *, commit: bool) -> int:
        """End a transaction; return an error code."""
        code = self._check(name, producer_id, epoch)
        if not code:
            self._end(self.known[name], commit=commit)
        return code

    def time_passed(self) -> None:
        """End what was open for too long: its epoch rises, so that whoever began it is refused (KIP-360)."""
        for one in self.known.values():
            if one.enlisted and self.now_ms() - one.began_ms >= TRANSACTION_TIMEOUT_MS:
                one.epoch += 1
                self._end(one, commit=False)

    def may_write(self, producer_id: int, epoch: int, partition: tuple[str, int]) -> bool:
        """Whether a transactional batch is of an open transaction."""
        return any(
            one.producer_id == producer_id and one.epoch == epoch and partition in one.enlisted
            for one in self.known.values()
        )

    def _end(self, one: Transactional, *, commit: bool) -> None:
        enlisted, one.enlisted = one.enlisted, {}
        for partition in enlisted:
            self.mark(partition, one.producer_id, one.epoch, commit)

    def _check(self, name: str, producer_id: int, epoch: int) -> int:
        found = self.known.get(name)
        if found is None or found.producer_id != producer_id or found.epoch != epoch:
            return INVALID_EPOCH
        return 0
