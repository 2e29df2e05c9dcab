"""A daemon around one `PartitionCopy`, reduced to what decides about exactness, and the world two of them live in.

`Daemon` follows `engine.pump`, `reader`, `writer`, `attach` and `claim_keeper` line by line where those decide
anything, with every wait made an event of its own: what the engine awaits, the history chooses the moment of.
`Rules` names each decision, so that a test can break one at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from replicator.core.answers import ProduceOutcome, classify_produce
from replicator.core.attach import Decision, Fault, Resume, Role, SourceLog, TargetLog, Wait, Writer, decide
from replicator.core.claim import Move, Seen, Timing, effective_from, next_move
from replicator.core.coalesce import Run, runs
from replicator.core.intake import Encode, Fill, Passes
from replicator.core.partition import IN_FLIGHT_BATCHES_MAX, Batch, PartitionCopy, Phase, TargetLimits
from replicator.model.names import TopicPartition
from replicator.model.states import Reason
from tests.property.model_broker import (
    BATCH_BYTES_MAX,
    GUARD_MS,
    NO_RECORD,
    TAIL_MS,
    FetchAnswer,
    ProducedBatch,
    SourceBatch,
    SourcePartition,
    SourceRecord,
    TargetPartition,
    encoded,
    merged,
    rewritten,
)

WHERE = TopicPartition("orders", 0)
WRITER = Writer(producer_id=100, producer_epoch=0, role=Role.COPYING, filler_id=101, filler_epoch=0, fill_id=102)
REQUEST_MS = 30_000
DOUBT_MS = REQUEST_MS + TAIL_MS
"""A request takes effect within `REQUEST_MS`, or never; what it appended is committed `TAIL_MS` later, or lost."""
PROOF_MS = 30_000
VERIFIED_MS_MAX = 1_800_000
TIMING = Timing(ttl_seconds=10.0, margin_seconds=3.0)
QUEUE_BYTES_MAX = 600
FILL_LENGTH_MAX = 2
NEVER = -1 << 60
_OURS = (WRITER.producer_id, WRITER.producer_epoch)
_REGISTERED = 0
"""The incarnation of the source's topic that the mirror record names."""
_DOUBTFUL_TODAY = frozenset({ProduceOutcome.UNKNOWN, ProduceOutcome.DUPLICATE})
_DOUBTFUL = _DOUBTFUL_TODAY | {ProduceOutcome.MOVED, ProduceOutcome.MISSING}


class Violation(AssertionError):
    """The simulation caught something that must never happen."""


Decide = Callable[..., Decision]
Divide = Callable[[Passes, int], list[Run]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a daemon does; the defaults are what keeps the invariant.

    Attributes:
        copy_type: The machine.
        decide: The attach table.
        claim_needed: Unguarded work needs the claim.
        doubt_waited: The doubt time is waited out, by the daemon in doubt and by a new holder of the claim.
        proven_after_doubt: Unguarded work rests on a place that was read *after* the doubt time.
        proven_when_sent: An answer proves the place for the time its request was sent, however late it is heard.
        moved_is_doubt: NOT_LEADER_OR_FOLLOWER may come after the append.
        reads_in_order: Source start, then the target, then the source's end. Otherwise the source comes first.
        source_epoch_known: The attach tells the leader epoch of the record it compared.
        aging_waited: A batch that lets the producer state age waits until no other daemon can hold an older place;
            and every write rests on a place proven within `PROOF_MS`.
        fill_doubt_waited: After a fill without an answer the doubt time is waited out before the next fill.
        log_end_known: The true log end is known at the attach (OffsetForLeaderEpoch of the present epoch).
        runs: Which batches of an answer are merged.
    """

    copy_type: type[PartitionCopy] = PartitionCopy
    decide: Decide = decide
    claim_needed: bool = True
    doubt_waited: bool = True
    proven_after_doubt: bool = True
    proven_when_sent: bool = True
    moved_is_doubt: bool = True
    reads_in_order: bool = True
    source_epoch_known: bool = True
    aging_waited: bool = True
    log_end_known: bool = False
    fill_doubt_waited: bool = True
    runs: Divide = runs


@dataclass(eq=False, slots=True)
class Request:
    """One Produce for the partition, or one fill under a claim number; on its way or answered."""

    work: tuple[Batch, ProducedBatch] | tuple[Fill, int]
    episode: int
    sent_ms: int
    answer: tuple[int, int] | None = None


@dataclass(eq=False, slots=True)
class Connection:
    """A connection to the target's leader: requests arrive in order, answers leave in order."""

    term: int
    open: bool = True
    waiting: int = 0
    undelivered: deque[Request] = field(default_factory=deque)
    unanswered: deque[Request] = field(default_factory=deque)


@dataclass(slots=True)
class World:
    """Source, target, claim and clock, shared by all daemons.

    Attributes:
        one_at_a_time: The broker works on one request per connection at a time, as Kafka does; others pipeline.
        zombies: Closed connections whose requests may still arrive.
        active: The mirror record: this partition was copied before.
        stored_epoch: The mirror record's source leader epoch.
        alien: Whether someone else wrote to the target.
    """

    rules: Rules = field(default_factory=Rules)
    now_ms: int = 1_700_000_000_000
    one_at_a_time: bool = True
    source: SourcePartition = field(default_factory=SourcePartition)
    target: TargetPartition = field(default_factory=TargetPartition)
    claim: Seen | None = None
    zombies: list[Connection] = field(default_factory=list)
    active: bool = False
    stored_epoch: int = -1
    alien: bool = False
    daemons: list[Daemon] = field(default_factory=list)
    _born: int = 0
    _seen_mutations: int = 0

    # -- daemons ------------------------------------------------------------------------------------------------------

    def start_daemon(self) -> Daemon:
        """Start a daemon that knows nothing but the target and the state topic."""
        self._born += 1
        daemon = Daemon(self, f"daemon-{self._born}")
        self.daemons.append(daemon)
        return daemon

    def kill_daemon(self, daemon: Daemon) -> None:
        """Kill a daemon: its memory is gone, its requests may still arrive."""
        self.daemons.remove(daemon)
        self.abandon(daemon.connection)

    def abandon(self, connection: Connection | None) -> None:
        """Close a connection from the daemon's side."""
        if connection is not None and connection.open:
            connection.open = False
            connection.unanswered.clear()
            if connection.undelivered:
                self.zombies.append(connection)

    # -- the network --------------------------------------------------------------------------------------------------

    def deliver(self, connection: Connection) -> bool:
        """Let the broker take the next request of a connection, open or closed."""
        if not connection.undelivered or (self.one_at_a_time and connection.waiting):
            return False
        request = connection.undelivered.popleft()

        def on_answer(code: int, base: int) -> None:
            request.answer = (code, base)
            if waits:
                connection.waiting -= 1

        waits = False
        what, how = request.work
        if isinstance(how, ProducedBatch):
            waits = self.target.produce(connection.term, how, self.now_ms, on_answer)
        elif isinstance(what, Fill):
            waits = self.target.fill(connection.term, how, what.length, self.now_ms, on_answer)
        connection.waiting += waits
        if not connection.undelivered and connection in self.zombies:
            self.zombies.remove(connection)
        return True

    def drop(self, connection: Connection) -> None:
        """Let what a closed connection still carried vanish."""
        connection.undelivered.clear()
        self.zombies.remove(connection)

    def advance(self, milliseconds: int) -> None:
        """Let time pass: time-outs close connections, tails are committed, old requests vanish."""
        self.now_ms += milliseconds
        self.target.time_passed(self.now_ms)
        for daemon in self.daemons:
            connection = daemon.connection
            if connection is not None and any(
                request.answer is None and self.now_ms - request.sent_ms >= REQUEST_MS
                for request in connection.unanswered
            ):
                daemon.lose_connection()
        for connection in list(self.zombies):
            if self.now_ms - connection.undelivered[-1].sent_ms >= REQUEST_MS:
                self.drop(connection)

    # -- the invariant ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise unless the target is a copy and every stop has a reason that holds.

        Raises:
            Violation: It is not, or one does not.
        """
        if self.target.mutations != self._seen_mutations:
            self._seen_mutations = self.target.mutations
            self._check_prefix()
        for daemon in self.daemons:
            copy = daemon.copy
            if copy.phase is Phase.FAULTED:
                self._check_reason(daemon)
            elif copy.phase is Phase.COPYING and copy.acked_offset > self.target.high_watermark:
                raise Violation(f"{daemon.name} believes {copy.acked_offset} to be acknowledged")
            connection = daemon.connection
            if connection is not None and len(connection.unanswered) > IN_FLIGHT_BATCHES_MAX:
                raise Violation(f"{daemon.name} has {len(connection.unanswered)} batches in flight")

    def _check_prefix(self) -> None:
        if self.alien:
            return
        copied = {
            batch.base + at: record for batch in self.target.log for at, record in enumerate(batch.produced.records)
        }
        if len(copied) != self.target.log_end or not any(
            all(history.get(offset, NO_RECORD) == record for offset, record in copied.items())
            for history in self.source.histories
        ):
            raise Violation(f"the target is no copy of the source: {copied} is in none of {self.source.histories}")

    def _check_reason(self, daemon: Daemon) -> None:
        reason, source = daemon.copy.reason, self.source
        holds = {
            Reason.SOURCE_TRUNCATED: source.truncated or source.incarnation > 0 or self.alien,
            Reason.CONTENT_MISMATCH: source.truncated or source.incarnation > 0 or self.alien,
            Reason.SOURCE_RECREATED: source.incarnation > 0,
            Reason.OVERTAKEN_BY_RETENTION: source.start > daemon.seen_end,
            Reason.FOREIGN_WRITER: self.alien,
            Reason.RECORD_TOO_LARGE: source.truncated
            or source.incarnation > 0
            or daemon.copy.next_offset in source.odd_offsets,
        }
        if reason is None or not holds.get(reason, False):
            raise Violation(f"{daemon.name} stopped without cause: {reason} {daemon.copy.detail}")


def _made(batches: dict[int, SourceBatch], run: Run) -> list[tuple[int, ProducedBatch]]:
    """Do what `engine.reader` does with a run: one batch of it, or each as it is; with the base offsets."""
    made = [rewritten(batches[header.base_offset], *_OURS, sequence) for header, sequence in run.passes]
    bases = [header.base_offset for header, _ in run.passes]
    return [(bases[0], merged(made))] if run.merged else list(zip(bases, made, strict=True))


class Daemon:
    """One daemon, as far as one partition is concerned."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.rules = world.rules
        self.copy = self.rules.copy_type(WHERE, TargetLimits(BATCH_BYTES_MAX, GUARD_MS))
        self.active = world.active
        self.stored_epoch = world.stored_epoch
        self.connection: Connection | None = None
        self.attaching: Iterator[None] | None = None
        self.fetched: tuple[int, FetchAnswer] | None = None
        self.seen_end = 0
        self.due = NEVER
        self._verified_ms = NEVER
        self._doubt_until = NEVER
        self._place = (-1, NEVER)
        self._claim_number = 0
        self._claim_valid_until = 0.0
        self._claim_effective_at = 0.0

    # -- the claim (engine.claim_keeper) ------------------------------------------------------------------------------

    def work_claim(self) -> None:
        """Take or renew the claim, as `core.claim` says."""
        world = self.world
        now = world.now_ms / 1000
        move = next_move(world.claim, self.name, now, TIMING)
        before = world.claim
        if move is Move.TAKE:
            self._claim_number = before.number + 1 if before is not None else 1
            world.claim = Seen(self._claim_number, self.name, 0, released=False, since=now)
            doubt_seconds = DOUBT_MS / 1000 if self.rules.doubt_waited else 0.0
            self._claim_effective_at = effective_from(before, now, doubt_seconds)
        elif move is Move.RENEW and before is not None:
            world.claim = Seen(before.number, self.name, before.renewal + 1, released=False, since=now)
        else:
            return
        self._claim_valid_until = now + TIMING.ttl_seconds - TIMING.margin_seconds

    def _claimed_since_ms(self) -> float | None:
        now = self.world.now_ms / 1000
        if self._claim_number and self._claim_effective_at <= now < self._claim_valid_until:
            return self._claim_effective_at * 1000
        return None

    def may_work_unguarded(self) -> bool:
        """Follow `Pump.may_work_unguarded`."""
        if not self.rules.claim_needed:
            return True
        return self._place_is_proven() and not self._must_wait_for_others()

    def _place_is_proven(self) -> bool:
        since, now, rules = self._claimed_since_ms(), self.world.now_ms, self.rules
        if since is None or self._verified_ms < since or now - self._verified_ms >= VERIFIED_MS_MAX:
            return False
        if rules.doubt_waited and now < self._doubt_until:
            return False
        return not (rules.doubt_waited and rules.proven_after_doubt and self._verified_ms < self._doubt_until)

    def _must_wait_for_others(self) -> bool:
        """Return whether another daemon may still send from an older place, on a guard that our batch would end."""
        now = self.world.now_ms
        aging = self.rules.aging_waited and self.copy.guard_is_on(now)
        return aging and now - self._place[1] < PROOF_MS + DOUBT_MS

    def attach_for_claim(self) -> None:
        """Follow `Pump._attach_for_claim`."""
        waits = self.copy.waits_for_claim or self.copy.fill_due() is not None
        if self._claimed_since_ms() is None or not waits or not self.copy.is_copying():
            return
        if not self._place_is_proven() and self.world.now_ms >= self._doubt_until:
            self._settle("the claim is ours: reading the log again")

    # -- attaching (engine.attach, Pump._attach, Pump._resume) --------------------------------------------------------

    def step_attach(self) -> bool:
        """Begin an attach, or do its next read; return whether there was anything to do."""
        if self.attaching is None:
            copy = self.copy
            if copy.phase not in {Phase.ATTACHING, Phase.SETTLING} or copy.outstanding or self.world.now_ms < self.due:
                return False
            if copy.phase is Phase.SETTLING:
                copy.attach_again()
            self.attaching = self._attach()
        if next(self.attaching, self) is self:
            self.attaching = None
        return True

    def _attach(self) -> Iterator[None]:
        world, source, target = self.world, self.world.source, self.world.target
        began = world.now_ms
        ends: tuple[int, int | None] = (source.end, self._epoch_end())
        start = source.start
        yield
        end = target.visible_end()
        if end is None:
            return
        yield
        entry = target.entry(WRITER.producer_id)
        log_end = target.log_end
        yield
        tail = target.tail(end)
        yield
        if self.rules.reads_in_order:
            ends = (source.end, self._epoch_end())
            yield
        content, epoch = None, source.epoch_at(end - 1)
        if tail is not None and start <= tail.last_offset < ends[0]:
            if tail.last_offset < source.start:
                return  # retention was faster: the read is refused
            content = source.record_at(tail.last_offset)
        behind = range(max(tail.last_offset + 1 if tail is not None else 0, start), min(end, ends[0]))
        unfilled = next((offset for offset in behind if source.record_at(offset) is not None), None)
        if self.copy.phase is not Phase.ATTACHING:
            return
        if source.incarnation != _REGISTERED:
            self.copy.fault(Reason.SOURCE_RECREATED, "another topic stands under the name")
            return
        self._verified_ms, self.seen_end = began, end
        if self.rules.log_end_known and log_end != end:
            self.copy.wait(Reason.WAITING_FOR_TAIL, "a tail is not committed")
            return
        self.active = self.active or world.active
        log = TargetLog(0, end, entry, tail)
        decision = self.rules.decide(
            WRITER,
            log,
            SourceLog(start, ends[0], ends[0], content, ends[1], unfilled=unfilled),
            ours=self.active,
            begin_at=start,
        )
        self._carry_out(decision, epoch)

    def _epoch_end(self) -> int | None:
        return self.world.source.epoch_end(self.stored_epoch)[1] if self.stored_epoch >= 0 else None

    def _carry_out(self, decision: Decision, source_epoch: int) -> None:
        copy, world = self.copy, self.world
        if isinstance(decision, Wait):
            copy.wait(decision.reason, decision.detail)
        elif isinstance(decision, Fault):
            copy.fault(decision.reason, decision.detail)
        elif isinstance(decision, Resume):
            state_ms = decision.state_time_ms
            guarded = state_ms is not None and state_ms > world.now_ms - GUARD_MS
            if self.rules.doubt_waited and copy.doubtful and not guarded and world.now_ms < self._doubt_until:
                copy.wait(Reason.WAITING_FOR_DOUBT, "a write without an answer may still arrive")
                self.due = self._doubt_until
                return
            copy.resume(decision, source_epoch if self.rules.source_epoch_known else -1)
            if self.connection is not None and self.connection.term != world.target.term:
                self.connection = None
            self._stand_at(decision.offset)
            self.active = world.active = True
        else:
            raise Violation(f"{self.name} wants to seed: {decision}")

    def _stand_at(self, offset: int) -> None:
        if self._place[0] != offset:
            self._place = (offset, self.world.now_ms)

    # -- reading (engine.reader) --------------------------------------------------------------------------------------

    def fetch(self, batches_max: int) -> bool:
        """Ask the source; the answer is on its way until `take`."""
        copy = self.copy
        if self.fetched is not None or not copy.wants_more(QUEUE_BYTES_MAX):
            return False
        answer = self.world.source.fetch(_REGISTERED, copy.next_offset, copy.last_epoch, batches_max)
        self.fetched = (copy.episode, answer)
        return True

    def take(self) -> bool:
        """Take the answer of the source."""
        if self.fetched is None:
            return False
        (episode, answer), self.fetched = self.fetched, None
        copy = self.copy
        if episode != copy.episode or not copy.is_copying():
            return True
        if answer.refusal == "UNKNOWN_TOPIC_ID":
            copy.fault(Reason.SOURCE_RECREATED, answer.refusal)
        elif answer.refusal is not None:
            self._settle(answer.refusal)
        elif answer.diverging is not None:
            copy.fault(Reason.SOURCE_TRUNCATED, f"diverging at {answer.diverging}")
        else:
            self._offer(answer)
        return True

    def _offer(self, answer: FetchAnswer) -> None:
        if not answer.batches:
            self.copy.end_of_log(answer.end, answer.epoch)
            return
        batches = {batch.header.base_offset: batch for batch in answer.batches}
        segments, _ = self.copy.offer(
            [batch.header for batch in answer.batches],
            answer.aborted,
            lambda header: batches[header.base_offset].unpack(),
        )
        for segment in segments:
            if isinstance(segment, Fill):
                self.copy.queue_fill(segment)
                continue
            if isinstance(segment, Encode):
                produced = [(segment.base_offset, self._encode(segment))]
            else:
                produced = [
                    each for run in self.world.rules.runs(segment, BATCH_BYTES_MAX) for each in _made(batches, run)
                ]
            for base, each in produced:
                header = each.header
                self.copy.queue([Batch(base, header.record_count, header.max_timestamp, header.size, each, None)])

    def _encode(self, segment: Encode) -> ProducedBatch:
        records = tuple(each.record for each in segment.records if isinstance(each, SourceRecord))
        return encoded(segment.header, records, *_OURS, segment.sequence)

    # -- writing (engine.writer, Pump.count, Pump.after_answer) -------------------------------------------------------

    def send(self) -> bool:
        """Send the next batch, if it may be sent."""
        copy, world = self.copy, self.world
        if not copy.is_copying():
            return False
        if self.rules.aging_waited and world.now_ms - self._verified_ms >= PROOF_MS and not copy.drained:
            self._settle("the place was not proven lately")
            return True
        batch = copy.next_to_send(world.now_ms, claimed=self.may_work_unguarded())
        if batch is None:
            return self._send_fill()
        produced = batch.payload
        assert isinstance(produced, ProducedBatch)
        self._put((batch, produced))
        return True

    def _put(self, work: tuple[Batch, ProducedBatch] | tuple[Fill, int]) -> None:
        connection = self.connection
        if connection is None or not connection.open:
            connection = self.connection = Connection(self.world.target.term)
        request = Request(work, self.copy.episode, self.world.now_ms)
        connection.undelivered.append(request)
        connection.unanswered.append(request)

    def _send_fill(self) -> bool:
        """Send the next fill, or part of it, if this daemon alone may append now (engine.filler)."""
        due = self.copy.fill_due()
        if due is None or not self._may_fill():
            return False
        self._put((self.copy.begin_fill(FILL_LENGTH_MAX), self._claim_number))
        return True

    def _may_fill(self) -> bool:
        if not self.rules.claim_needed:
            return True
        if not self.rules.fill_doubt_waited:
            return self._claimed_since_ms() is not None
        return self._place_is_proven()

    def hear(self) -> bool:
        """Take the next answer of the target, if one has come."""
        connection = self.connection
        if connection is None or not connection.unanswered or connection.unanswered[0].answer is None:
            return False
        request = connection.unanswered.popleft()
        code, base = request.answer or (-1, -1)
        outcome = ProduceOutcome.ACCEPTED if not code else classify_produce(code)
        batch = request.work[0]
        if isinstance(batch, Fill):
            self._hear_fill(batch, request, outcome)
            return True
        if code or not self.copy.accepted(batch, request.episode, base):
            self.copy.answered(batch, request.episode, outcome, base, f"error {code}")
            self._after_answer(outcome)
        if outcome is ProduceOutcome.ACCEPTED:
            # The answer may have waited for us: it proves the place for when the request was sent, not for now.
            proven_ms = request.sent_ms if self.rules.proven_when_sent else self.world.now_ms
            self._verified_ms = max(self._verified_ms, proven_ms)
            self.due = NEVER
            if request.episode == self.copy.episode:
                self._stand_at(self.copy.acked_offset)
            if base != batch.base_offset and self.copy.is_copying():
                raise Violation(f"{self.name} goes on though offset {batch.base_offset} landed at {base}")
        return True

    def _hear_fill(self, fill: Fill, request: Request, outcome: ProduceOutcome) -> None:
        """Take the answer to a fill, and ask for the log's end; every refusal may hide a marker that was appended."""
        copy, end = self.copy, self.world.target.visible_end()
        if outcome is ProduceOutcome.ACCEPTED and end is not None:
            copy.filled(fill, request.episode, end)
            if request.episode == copy.episode and copy.is_copying():
                self._verified_ms = max(self._verified_ms, request.sent_ms)
                self.due = NEVER
                self._stand_at(copy.acked_offset)
        else:
            copy.fill_failed(request.episode, f"fill: {outcome}", doubtful=True)
        if copy.doubtful:
            self._after_answer(ProduceOutcome.UNKNOWN)

    def _after_answer(self, outcome: ProduceOutcome) -> None:
        if outcome in (_DOUBTFUL if self.rules.moved_is_doubt else _DOUBTFUL_TODAY):
            self._doubt_until = self.world.now_ms + DOUBT_MS

    def lose_connection(self) -> bool:
        """Lose the connection and every answer on it."""
        connection = self.connection
        if connection is None or not connection.open or not connection.unanswered:
            return False
        requests = list(connection.unanswered)
        self.world.abandon(connection)
        for request in requests:
            batch = request.work[0]
            if isinstance(batch, Fill):
                self.copy.fill_failed(request.episode, "connection lost", doubtful=True)
            else:
                self.copy.lost(batch, request.episode, "connection lost")
            self._after_answer(ProduceOutcome.UNKNOWN)
        return True

    def notice_leader(self) -> None:
        """Follow `Pump._leaders_changed`: the metadata shows that the target's leader moved."""
        if self.connection is not None and self.connection.term != self.world.target.term:
            self._settle("the target's leader moved")

    def _settle(self, detail: str) -> None:
        self.copy.settle(detail, doubtful=False)

    # -- by wish ------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Pause, as `Pump.pause`."""
        self.copy.pause()

    def unpause(self) -> None:
        """Go on, as `Pump.resume`: once no answer is outstanding."""
        if self.copy.phase is Phase.PAUSED and not self.copy.outstanding:
            self.copy.attach_again()
            self.due = NEVER
