"""A model of the partition that is copied to, which takes what Kafka's broker would take (KAFKA_FACTS K2).

And what makes attaching hard there: the high watermark lags the log end, lastSequence includes the uncommitted tail, a
leader change keeps any part of that tail, and producer state ages by *record* time (KAFKA_FACTS K6).

Two assumptions, both stated where they are used: a request takes effect within `REQUEST_SECONDS`, or never, and an
appended tail is committed or lost within `TAIL_MS` (unless `TargetPartition.tail_may_stay` says otherwise).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from replicator.model.batch import CONTROL_BIT, SEQUENCE_MODULUS, TRANSACTIONAL_BIT, BatchHeader, sequence_after
from tests.copy_world.source_log import BATCH_BYTES_MAX, HOUR_MS

EXPIRY_MS = 24 * HOUR_MS
"""producer.id.expiration.ms"""
GUARD_MS = EXPIRY_MS - HOUR_MS
TIMESTAMP_AFTER_MAX_MS = HOUR_MS
TAIL_MS = 10_000
REMEMBERED_BATCHES = 5
ALIEN_PRODUCER = 4711
ALIEN_RECORD = -1
NO_RECORD = 0
"""What a marker holds."""
FILLER = -2
"""What a seed writes."""

OK = 0
OFFSET_OUT_OF_RANGE = 1
CORRUPT_MESSAGE = 2
NOT_LEADER_OR_FOLLOWER = 6
MESSAGE_TOO_LARGE = 10
CLUSTER_AUTHORIZATION_FAILED = 31
INVALID_TIMESTAMP = 32
OUT_OF_ORDER_SEQUENCE = 45
INVALID_PRODUCER_EPOCH = 47
INVALID_RECORD = 87


@dataclass(frozen=True, slots=True)
class ProducedBatch:
    """A batch as it reaches the target: a rewritten header, and its records' identities in order.

    `raw` holds its bytes, None for what the model puts there by itself.
    """

    header: BatchHeader
    records: tuple[int, ...]
    crc_valid: bool = True
    raw: bytes | None = None


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

    # -- what clients may ask -----------------------------------------------------------------------------------------

    def visible_end(self) -> int | None:
        """Answer ListOffsets: the high watermark, or None for OFFSET_NOT_AVAILABLE."""
        return self.high_watermark if self.high_watermark >= self.ready_from else None

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

    def fill(self, term: int, epoch: int, length: int, now_ms: int, on_answer: OnAnswer, producer_id: int = -1) -> bool:
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
                0, 66, -1, 2, 0, CONTROL_BIT | TRANSACTIONAL_BIT, 0, now_ms, now_ms, producer_id, epoch, -1, 1, 0
            )
            self.log.append(TargetBatch(self.log_end, ProducedBatch(header, (NO_RECORD,)), now_ms))
        self.mutations += 1
        return self._answer_when_committed(self.log_end, -1, on_answer)

    def append_marker(self, producer_id: int, epoch: int, now_ms: int) -> None:
        """Let a coordinator end a transaction that enlisted this partition."""
        header = BatchHeader(
            0, 66, -1, 2, 0, CONTROL_BIT | TRANSACTIONAL_BIT, 0, now_ms, now_ms, producer_id, epoch, -1, 1, 0
        )
        self.log.append(TargetBatch(self.log_end, ProducedBatch(header, (NO_RECORD,)), now_ms))
        self.mutations += 1

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
        """Return (offset, record) of every record, markers and fillers left out, for the observer."""
        return [
            (batch.base + at, record)
            for batch in self.log
            if not batch.produced.header.is_control
            for at, record in enumerate(batch.produced.records)
            if record != FILLER
        ]

    def delete_records(self, term: int, offset: int) -> int:
        """Move the start as a client asks; return an error code. A new leader refuses until its end is proven."""
        if term != self.term:
            return NOT_LEADER_OR_FOLLOWER
        if offset > self.high_watermark or self.high_watermark < self.ready_from:
            return OFFSET_OUT_OF_RANGE
        self.start = max(self.start, offset)
        return OK

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
            if batch.produced.header.producer_id >= 0 and not batch.produced.header.is_control:
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
