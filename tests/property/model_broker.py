"""Models of one source partition and of one target partition, for the simulation of two daemons.

The target enforces KAFKA.md table A for the batches this project may send, and what makes attaching hard there:
the high watermark lags the log end, lastSequence includes the uncommitted tail, a leader change keeps any part of that
tail, and producer state ages by *record* time (KAFKA.md 0b.13).
Nothing here knows of the machine under test: records are integers, never equal twice, and offsets say where they are.

Two assumptions, both stated where they are used: a request takes effect at most `DOUBT_MS` after it was sent, and an
appended tail is committed or lost within `TAIL_MS` (unless `TargetPartition.tail_may_stay` says otherwise).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from replicator.core.copy.attach_facts import Entry, Tail
from replicator.model.batch import (
    CONTROL_BIT,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    SEQUENCE_MODULUS,
    TRANSACTIONAL_BIT,
    BatchHeader,
    sequence_after,
)

HOUR_MS = 3_600_000
EXPIRY_MS = 24 * HOUR_MS
"""producer.id.expiration.ms"""
GUARD_MS = EXPIRY_MS - HOUR_MS
BATCH_BYTES_MAX = 1000
TIMESTAMP_AFTER_MAX_MS = HOUR_MS
TAIL_MS = 30_000
REMEMBERED_BATCHES = 5
ALIEN_PRODUCER = 4711
ALIEN_RECORD = -1
ABORTED_PRODUCER = 77
FLOW_PRODUCER = 78
"""A flow that writes to the source, whose records `loop_guard: origin` leaves out."""
NO_RECORD = 0
"""What a marker holds."""
_KEPT_OLD_BITS = LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT

OK = 0
CORRUPT_MESSAGE = 2
NOT_LEADER_OR_FOLLOWER = 6
MESSAGE_TOO_LARGE = 10
CLUSTER_AUTHORIZATION_FAILED = 31
INVALID_TIMESTAMP = 32
OUT_OF_ORDER_SEQUENCE = 45
INVALID_PRODUCER_EPOCH = 47
INVALID_RECORD = 87


# -- the source ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """A batch of the source: its header, and the identities of its records by offset."""

    header: BatchHeader
    records: tuple[tuple[int, int], ...]

    def unpack(self) -> list[SourceRecord]:
        """Open the batch: its records at their offsets."""
        return [SourceRecord(offset, record) for offset, record in self.records]


class SourceRecord(NamedTuple):
    """A record of an opened batch."""

    offset: int
    record: int


class FetchAnswer(NamedTuple):
    """What a fetch of the source returned: a refusal, a divergence, or batches."""

    refusal: str | None
    diverging: tuple[int, int] | None
    batches: tuple[SourceBatch, ...]
    aborted: tuple[tuple[int, int], ...]
    end: int = 0
    epoch: int = -1


@dataclass(slots=True)
class SourcePartition:
    """One partition of the source; all of it is committed, until an unclean election loses some.

    Attributes:
        start: Log start offset.
        end: Log end and high watermark.
        incarnation: Changes when the topic is re-created.
        histories: Every history the partition ever had, the present one last: identity by offset.
        odd_offsets: Offsets covered by batches that cannot be copied at all.
    """

    start: int = 0
    end: int = 0
    incarnation: int = 0
    truncated: bool = False
    batches: list[SourceBatch] = field(default_factory=list)
    histories: list[dict[int, int]] = field(default_factory=lambda: [{}])
    epochs: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    odd_offsets: set[int] = field(default_factory=set)
    _next_record: int = 1

    def append(self, count: int, max_timestamp: int, odd: str = "") -> None:
        """Append one batch; `odd` names what is unusual about it."""
        if odd in {"gap", "end"}:
            self.end += 1
        if odd == "end":
            return
        base = self.end
        records = [(base + at, self._next_record + at) for at in range(count)]
        self._next_record += count
        if odd == "hole" and count > 1:
            del records[count // 2]
        elif odd == "hole":
            odd = "control"
        if odd == "control":
            records = []
        attributes = {
            "control": CONTROL_BIT | TRANSACTIONAL_BIT,
            "append_time": LOG_APPEND_TIME_BIT,
            "aborted": TRANSACTIONAL_BIT,
            "transactional": TRANSACTIONAL_BIT,
        }.get(odd, 0)
        size = BATCH_BYTES_MAX + 1 if odd == "too_large" else 61 + 10 * count
        magic = 1 if odd == "old_magic" else 2
        if odd == "old_magic":
            count = 1
            del records[1:]
        producer = {"aborted": ABORTED_PRODUCER, "by_a_flow": FLOW_PRODUCER}.get(odd, 5)
        stored = 1 if odd == "control" else len(records)
        header = BatchHeader(
            base,
            size - LENGTH_PREFIX_BYTES,
            self.epochs[-1][0],
            magic,
            0,
            attributes,
            count - 1,
            0,
            max_timestamp,
            producer,
            0,
            0,
            stored,
            0,
        )
        if odd == "too_large":
            self.odd_offsets.update(range(base, base + count))
        self.batches.append(SourceBatch(header, tuple(records)))
        if odd not in {"aborted", "by_a_flow"}:
            self.histories[-1].update(records)
        self.end = base + count

    def bump_epoch(self) -> None:
        """Elect a leader cleanly."""
        self.epochs.append((self.epochs[-1][0] + 1, self.end))

    def delete_records(self, offset: int) -> None:
        """Let an administrator move the start, also into the middle of a batch (DeleteRecords)."""
        self.start = max(self.start, min(offset, self.end))
        self.batches = [batch for batch in self.batches if batch.header.next_offset > self.start]

    def truncate(self, index: int) -> None:
        """Elect a leader uncleanly: batches from that one on are lost, and another history begins."""
        if index >= len(self.batches):
            return
        cut = max(self.batches[index].header.base_offset, self.start)
        del self.batches[index:]
        self.truncated = True
        self.end = cut
        self.odd_offsets = {offset for offset in self.odd_offsets if offset < cut}
        self.histories.append({offset: record for offset, record in self.histories[-1].items() if offset < cut})
        epoch = self.epochs[-1][0] + 1
        self.epochs = [*((number, first) for number, first in self.epochs if first < cut or number == 0), (epoch, cut)]

    def recreate(self) -> None:
        """Delete the topic and create it again."""
        self.start = self.end = 0
        self.incarnation += 1
        self.batches = []
        self.histories.append({})
        self.epochs = [(0, 0)]
        self.odd_offsets = set()

    def epoch_end(self, epoch: int) -> tuple[int, int]:
        """Return (largest epoch not above `epoch`, where it ends), as OffsetForLeaderEpoch does.

        Epochs that end below the log's start are forgotten; the one it stands in begins there from then on. Of one
        before all that are known, the end is where those begin.
        """
        found = epoch
        for number, first in self._known_epochs():
            if number > epoch:
                return found, first
            found = number
        return found, self.end

    def _known_epochs(self) -> list[tuple[int, int]]:
        ends = [first for _, first in self.epochs[1:]] + [self.end + 1]
        return [
            (number, max(first, self.start))
            for (number, first), end in zip(self.epochs, ends, strict=True)
            if end > self.start
        ]

    def fetch(self, incarnation: int, offset: int, last_epoch: int, batches_max: int) -> FetchAnswer:
        """Answer a fetch as a broker does from v12 on."""
        if incarnation != self.incarnation:
            return FetchAnswer("UNKNOWN_TOPIC_ID", None, (), ())
        if not self.start <= offset <= self.end:
            return FetchAnswer("OFFSET_OUT_OF_RANGE", None, (), ())
        if last_epoch >= 0:
            epoch, end = self.epoch_end(last_epoch)
            if epoch < last_epoch or end < offset:
                return FetchAnswer(None, (epoch, end), (), ())
        found = tuple(batch for batch in self.batches if batch.header.next_offset > offset)[:batches_max]
        aborted = tuple(
            (batch.header.producer_id, batch.header.base_offset)
            for batch in found
            if batch.header.producer_id == ABORTED_PRODUCER
        )
        return FetchAnswer(None, None, found, aborted, self.end, self.epochs[-1][0])

    def record_at(self, offset: int) -> int | None:
        """Return the record a reader finds there now."""
        return self.histories[-1].get(offset) if self.start <= offset < self.end else None

    def epoch_at(self, offset: int) -> int:
        """Return the leader epoch of the batch that holds an offset, -1 where none does."""
        for batch in self.batches:
            if batch.header.base_offset <= offset < batch.header.next_offset:
                return batch.header.leader_epoch
        return -1


Lie = Callable[[FetchAnswer, int], FetchAnswer]
"""Spoils an answer on its way; the number chooses which batch of it, or by how much."""


def _moved(answer: FetchAnswer, pick: int, by: int) -> FetchAnswer:
    """Move a batch; but not the first: if it begins below what was asked for, nothing shows where it stands."""
    batches = list(answer.batches)
    if len(batches) == 1:
        return answer
    at = 1 + pick % (len(batches) - 1)
    header = batches[at].header
    batches[at] = replace(batches[at], header=header._replace(base_offset=header.base_offset + by))
    return answer._replace(batches=tuple(batches))


def further_on(answer: FetchAnswer, pick: int) -> FetchAnswer:
    """Let a batch claim an offset that is slightly too high."""
    return _moved(answer, pick, 1 + pick % 3)


def far_beyond(answer: FetchAnswer, pick: int) -> FetchAnswer:
    """Let a batch claim an offset beyond the log's end."""
    return _moved(answer, pick, 1000)


def below_zero(answer: FetchAnswer, pick: int) -> FetchAnswer:
    """Let a batch claim an offset that cannot be."""
    return _moved(answer, pick, -(1 << 40))


def overlapping(answer: FetchAnswer, pick: int) -> FetchAnswer:
    """Let a batch begin inside the one before it, where they follow each other."""
    headers = [batch.header for batch in answer.batches]
    touching = [at for at in range(1, len(headers)) if headers[at].base_offset == headers[at - 1].next_offset]
    return _moved(answer, touching[pick % len(touching)] - 1, -1) if touching else answer


def of_an_epoch_to_come(answer: FetchAnswer, pick: int) -> FetchAnswer:
    """Let a batch claim a leader epoch that its leader has not reached."""
    batches = list(answer.batches)
    at = pick % len(batches)
    header = batches[at].header
    batches[at] = replace(batches[at], header=header._replace(leader_epoch=header.leader_epoch + 1000))
    return answer._replace(batches=tuple(batches))


def of_another_place(answer: FetchAnswer, _pick: int) -> FetchAnswer:
    """Give what stands behind the first batch, as if it had been asked for."""
    return answer._replace(batches=answer.batches[1:])


LIES: tuple[Lie, ...] = (further_on, far_beyond, below_zero, overlapping, of_an_epoch_to_come, of_another_place)
LIES_SEEN_BESIDE_HOLES: tuple[Lie, ...] = (far_beyond, below_zero, overlapping, of_an_epoch_to_come)
"""Those that show in a log from which a cleaner may have taken anything."""


# -- the target ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProducedBatch:
    """A batch as it reaches the target: a rewritten header, and its records' identities in order."""

    header: BatchHeader
    records: tuple[int, ...]
    crc_valid: bool = True


@dataclass(slots=True)
class TargetBatch:
    """A batch in the target's log."""

    base: int
    produced: ProducedBatch
    appended_ms: int

    @property
    def next_offset(self) -> int:
        """Offset after its last record."""
        return self.base + len(self.produced.records)


@dataclass(slots=True)
class ProducerState:
    """What the broker remembers of one producer id: its last batches as (first sequence, last sequence, base)."""

    epoch: int
    last_timestamp: int
    batches: deque[tuple[int, int, int]]


OnAnswer = Callable[[int, int], None]


@dataclass(slots=True)
class _Waiting:
    required: int
    base: int
    on_answer: OnAnswer


@dataclass(slots=True)
class TargetPartition:
    """One partition of the target.

    Attributes:
        high_watermark: What clients are told the end is.
        term: Rises with each leader change; a request that was sent to an earlier leader is refused.
        start: Log start offset; what retention took is kept here for the observer only.
        fills_denied: Whether the right to write markers is missing.
        ready_from: After a leader change, ends are told only from this high watermark on (KIP-207).
        tail_may_stay: Whether the tail may stay uncommitted without limit (too few replicas).
        mutations: Counts changes of the log, so that an observer looks only when something changed.
    """

    high_watermark: int = 0
    term: int = 0
    ready_from: int = 0
    tail_may_stay: bool = False
    mutations: int = 0
    fill_epoch: int = 0
    start: int = 0
    fills_denied: bool = False
    log: list[TargetBatch] = field(default_factory=list)
    states: dict[int, ProducerState] = field(default_factory=dict)
    _waiting: list[_Waiting] = field(default_factory=list)

    @property
    def log_end(self) -> int:
        """Log end offset, committed or not."""
        return self.log[-1].next_offset if self.log else 0

    # -- what clients may ask ---------------------------------------------------------------------------------------

    def visible_end(self) -> int | None:
        """Answer ListOffsets: the high watermark, or None for OFFSET_NOT_AVAILABLE."""
        return self.high_watermark if self.high_watermark >= self.ready_from else None

    def entry(self, producer_id: int) -> Entry | None:
        """Answer DescribeProducers: this includes what is not committed."""
        state = self.states.get(producer_id)
        return Entry(state.epoch, state.batches[-1][1], state.last_timestamp) if state is not None else None

    def tail(self, end: int) -> Tail | None:
        """Return the last data batch below `end`, which must be committed."""
        committed = [batch for batch in self.log if self.start <= batch.base < min(end, self.high_watermark)]
        below = [batch for batch in committed if not batch.produced.header.is_control]
        if not below:
            return None
        header = below[-1].produced.header
        return Tail(
            below[-1].next_offset - 1,
            header.producer_id,
            header.producer_epoch,
            header.last_sequence,
            header.max_timestamp,
            below[-1].produced.records[-1],
        )

    # -- producing ----------------------------------------------------------------------------------------------------

    def produce(self, term: int, produced: ProducedBatch, now_ms: int, on_answer: OnAnswer) -> bool:
        """Take one request for this partition; return whether its answer waits for replicas.

        `on_answer` gets (error code, base offset): at once, or when the append is committed or lost.
        """
        if term != self.term:
            on_answer(NOT_LEADER_OR_FOLLOWER, -1)
            return False
        code = _refuse(produced, now_ms)
        if code:
            on_answer(code, -1)
            return False
        header = produced.header
        code, repeated = self._check_sequence(header)
        if code:
            on_answer(code, -1)
            return False
        if repeated is not None:
            return self._answer_when_committed(repeated + header.record_count, repeated, on_answer)
        base = self.log_end
        self.log.append(TargetBatch(base, produced, now_ms))
        self._remember(header, base)
        self.mutations += 1
        return self._answer_when_committed(self.log_end, base, on_answer)

    def fill(self, term: int, epoch: int, length: int, now_ms: int, on_answer: OnAnswer) -> bool:
        """Take one WriteTxnMarkers request: `length` markers, each appended, none recognised as a repeat (0b.4).

        A marker of an older epoch than the last is refused. As `produce`, but nothing is said of the offset.
        """
        code = OK
        if self.fills_denied:
            code = CLUSTER_AUTHORIZATION_FAILED
        elif term != self.term:
            code = NOT_LEADER_OR_FOLLOWER
        elif epoch < self.fill_epoch:
            code = INVALID_PRODUCER_EPOCH
        if code:
            on_answer(code, -1)
            return False
        self.fill_epoch = epoch
        for _ in range(length):
            header = BatchHeader(
                0, 66, -1, 2, 0, CONTROL_BIT | TRANSACTIONAL_BIT, 0, now_ms, now_ms, -1, epoch, -1, 1, 0
            )
            self.log.append(TargetBatch(self.log_end, ProducedBatch(header, (NO_RECORD,)), now_ms))
        self.mutations += 1
        return self._answer_when_committed(self.log_end, -1, on_answer)

    def _check_sequence(self, header: BatchHeader) -> tuple[int, int | None]:
        """Return (error code, base offset of the batch this one repeats): rows A25 to A28."""
        state = self.states.get(header.producer_id)
        if state is None or header.producer_id < 0:
            return OK, None
        if header.producer_epoch < state.epoch:
            return INVALID_PRODUCER_EPOCH, None
        if header.producer_epoch > state.epoch:
            return (OUT_OF_ORDER_SEQUENCE if header.base_sequence else OK), None
        for first, last, base in state.batches:
            if (first, last) == (header.base_sequence, header.last_sequence):
                return OK, base
        if header.base_sequence != sequence_after(state.batches[-1][1], 1):
            return OUT_OF_ORDER_SEQUENCE, None
        return OK, None

    def _remember(self, header: BatchHeader, base: int) -> None:
        state = self.states.get(header.producer_id)
        if state is None or header.producer_epoch > state.epoch:
            state = ProducerState(header.producer_epoch, 0, deque(maxlen=REMEMBERED_BATCHES))
            self.states[header.producer_id] = state
        state.batches.append((header.base_sequence, header.last_sequence, base))
        state.last_timestamp = header.max_timestamp

    def _answer_when_committed(self, required: int, base: int, on_answer: OnAnswer) -> bool:
        if required <= self.high_watermark:
            on_answer(OK, base)
            return False
        self._waiting.append(_Waiting(required, base, on_answer))
        return True

    def data(self) -> list[tuple[int, int]]:
        """Return (offset, record) of every record, markers left out, for the observer."""
        return [
            (batch.base + at, record)
            for batch in self.log
            if not batch.produced.header.is_control
            for at, record in enumerate(batch.produced.records)
        ]

    # -- what happens to a broker -------------------------------------------------------------------------------------

    def commit(self, batches: int | None = None) -> None:
        """Let the replicas follow by that many batches of the tail (None: all of it)."""
        ends = [batch.next_offset for batch in self.log if batch.next_offset > self.high_watermark]
        if not ends:
            return
        self.high_watermark = ends[-1] if batches is None else ends[min(batches, len(ends)) - 1]
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            if entry.required <= self.high_watermark:
                entry.on_answer(OK, entry.base)
            else:
                self._waiting.append(entry)

    def change_leader(self, kept_batches: int, remembered: int, now_ms: int) -> None:
        """Elect a leader that has the committed log and `kept_batches` of the tail.

        Answers still waiting become NOT_LEADER_OR_FOLLOWER, whether their batch was kept or not (Kafka's
        DelayedProduce). The new leader knows producers from its own log: at least the last batch, at most five.
        """
        tail = [batch for batch in self.log if batch.next_offset > self.high_watermark]
        committed = self.log[: len(self.log) - len(tail)]
        self.log = committed + tail[:kept_batches]
        self.mutations += 1
        self.term += 1
        self.ready_from = self.log_end
        self.states = {}
        for batch in self.log:
            if batch.produced.header.producer_id >= 0:
                self._remember(batch.produced.header, batch.base)
        for state in self.states.values():
            while len(state.batches) > remembered:
                state.batches.popleft()
        self.expire(now_ms)
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            entry.on_answer(NOT_LEADER_OR_FOLLOWER, -1)

    def expire(self, now_ms: int) -> bool:
        """Sweep producers by the *record time* of their latest batch; return whether one was forgotten."""
        old = [key for key, state in self.states.items() if now_ms - state.last_timestamp >= EXPIRY_MS]
        for key in old:
            del self.states[key]
        return bool(old)

    def retain_from(self, offset: int) -> None:
        """Let retention take whole committed batches below an offset, but for the last one with records."""
        committed = [batch for batch in self.log if batch.next_offset <= self.high_watermark]
        data = [batch for batch in committed if not batch.produced.header.is_control]
        kept = data[-1].base if data else 0
        for batch in committed:
            if batch.next_offset <= min(offset, kept):
                self.start = max(self.start, batch.next_offset)

    def time_passed(self, now_ms: int) -> None:
        """Commit what was appended `TAIL_MS` ago: an in-sync replica follows or leaves the set within that time."""
        if self.tail_may_stay:
            return
        late = sum(
            batch.next_offset > self.high_watermark and now_ms - batch.appended_ms >= TAIL_MS for batch in self.log
        )
        if late:
            self.commit(late)

    def append_alien(self, record: int, now_ms: int) -> None:
        """Let someone who is no daemon of ours write one record."""
        header = BatchHeader(0, 59, -1, 2, 0, 0, 0, now_ms, now_ms, ALIEN_PRODUCER, 0, 0, 1, 0)
        self.log.append(TargetBatch(self.log_end, ProducedBatch(header, (record,)), now_ms))
        self.mutations += 1


def _refuse(produced: ProducedBatch, now_ms: int) -> int:
    """Return the code for a batch that no state of the log would let pass: rows A1, A2, A6 to A8, A11, A12, A14."""
    header = produced.header
    if not produced.crc_valid:
        return CORRUPT_MESSAGE
    malformed = (
        header.base_offset != 0
        or header.record_count != header.last_offset_delta + 1
        or header.record_count <= 0
        or header.is_control
        or header.magic != 2
        or (header.producer_id >= 0 and not 0 <= header.base_sequence < SEQUENCE_MODULUS)
        or header.is_transactional
    )
    if malformed:
        return INVALID_RECORD
    if header.size > BATCH_BYTES_MAX:
        return MESSAGE_TOO_LARGE
    if header.max_timestamp > now_ms + TIMESTAMP_AFTER_MAX_MS:
        return INVALID_TIMESTAMP
    return OK


def encoded(
    header: BatchHeader, records: tuple[int, ...], producer_id: int, producer_epoch: int, sequence: int
) -> ProducedBatch:
    """Do what `wire.recode.build_batches` does: a batch of some records of another."""
    count = len(records)
    return ProducedBatch(
        BatchHeader(
            0,
            61 + 10 * count - LENGTH_PREFIX_BYTES,
            -1,
            2,
            0,
            0,
            count - 1,
            0,
            header.max_timestamp,
            producer_id,
            producer_epoch,
            sequence,
            count,
            0,
        ),
        records,
    )


def rewritten(batch: SourceBatch, producer_id: int, producer_epoch: int, sequence: int) -> ProducedBatch:
    """Do to a header what `wire.batch.rewrite` does to its bytes."""
    header = batch.header._replace(
        base_offset=0,
        attributes=batch.header.attributes & ~_KEPT_OLD_BITS,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=sequence,
    )
    return ProducedBatch(header, tuple(record for _, record in batch.records))


def merged(batches: Sequence[ProducedBatch]) -> ProducedBatch:
    """Do what `wire.coalesce.merge` does: one batch of several that follow each other."""
    first = batches[0].header
    records = tuple(record for batch in batches for record in batch.records)
    header = first._replace(
        length=61 + 10 * len(records) - LENGTH_PREFIX_BYTES,
        last_offset_delta=len(records) - 1,
        max_timestamp=max(batch.header.max_timestamp for batch in batches),
        record_count=len(records),
    )
    return ProducedBatch(header, records)
