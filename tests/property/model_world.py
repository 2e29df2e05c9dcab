"""The world that daemons of the simulation live in: source, target, claim and clock; and what must hold in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from replicator.core.copy.doubt import DOUBTS_MAX
from replicator.core.copy.intake import Fill
from replicator.core.copy.track import Track
from replicator.core.copy.values import IN_FLIGHT_BATCHES_MAX, Phase
from replicator.core.offsets.offset_map import OffsetMap, Place, unpack
from replicator.core.offsets.pairing import reading_from
from replicator.core.work.claim import Seen
from replicator.engine.copy.live_maps import restored
from replicator.model.spec import Offsets
from replicator.model.states import Reason
from tests.property.model_broker import (
    ALIEN_RECORD,
    NO_RECORD,
    FetchAnswer,
    Lie,
    ProducedBatch,
    SourcePartition,
    TargetPartition,
)
from tests.property.model_daemon import Daemon
from tests.property.model_rules import (
    REQUEST_MS,
    Connection,
    Rules,
    Violation,
)
from tests.property.model_state import MIRROR_KEY, WHERE, StateTopic


@dataclass(slots=True)
class World:
    """Source, target, claim and clock, shared by all daemons.

    Attributes:
        one_at_a_time: The broker works on one request per connection at a time, as Kafka does; others pipeline.
        zombies: Closed connections whose requests may still arrive.
        active: The mirror record: this partition was copied before.
        stored_epoch: The mirror record's source leader epoch.
        alien: Whether someone else wrote to the target.
        offsets: What the flow promises.
        fill_length_max: The flow's `fill_limit`.
        state: The state topic.
        given_up: Source offsets that an operator gave up, from and to.
        judged_from: Target offset below which the log was taken over.
        log_end_shown: Whether attaches are told the true log end.
        resolved: Whether an operator let copying begin behind, or without, what was copied before.
        haunted: Whether markers landed beyond what any wait assumes.
        compacted: Whether a cleaner is known to work on the source's log; else one may have, once.
        lie: How the next answer of the source is spoiled on its way, and where in it.
        lies: How many were.
        shared: Whether others write to the target all the time, as they may (`loop_guard: origin`).
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
    offsets: Offsets = Offsets.IDENTICAL
    fill_length_max: int = 5_000_000
    state: StateTopic = field(default_factory=StateTopic)
    given_up: list[tuple[int, int]] = field(default_factory=list)
    judged_from: int = 0
    haunted: bool = False
    resolved: bool = False
    log_end_shown: bool = False
    shared: bool = False
    compacted: bool = True
    lie: tuple[Lie, int] | None = None
    lies: int = 0
    daemons: list[Daemon] = field(default_factory=list)
    _born: int = 0
    _seen_mutations: int = 0
    _begins_at: int | None = None
    _described: int = 0
    _seen_described: tuple[int, bytes] | None = None

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

    def spoiled(self, answer: FetchAnswer) -> FetchAnswer:
        """Return an answer as it arrives."""
        if self.lie is None or not answer.batches:
            return answer
        self.lies += 1
        (spoil, pick), self.lie = self.lie, None
        return spoil(answer, pick)

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
        self.state.late = [
            (sent_ms, changes) for sent_ms, changes in self.state.late if self.now_ms - sent_ms < REQUEST_MS
        ]
        for connection in list(self.zombies):
            if self.now_ms - connection.undelivered[-1].sent_ms >= REQUEST_MS:
                self.drop(connection)

    # -- the invariant ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise unless the target is a copy, every map is exact and every stop has a reason that holds.

        Raises:
            Violation: It is not, one is not, or one does not.
        """
        if self.target.mutations != self._seen_mutations:
            self._seen_mutations = self.target.mutations
            self._check_prefix()
        self._see_what_is_described()
        for daemon in self.daemons:
            copy = daemon.copy
            if copy.phase is Phase.FAULTED:
                self._check_reason(daemon)
            elif copy.phase is Phase.COPYING and copy.target_end > self.target.high_watermark:
                raise Violation(f"{daemon.name} believes {copy.target_end} to be acknowledged")
            # After an operator began anew, a map of before means nothing until its daemon has read of that.
            if copy.track is not None and (copy.is_copying() or not self.resolved):
                check_map(self, daemon.name, copy.track, daemon.mapped_before)
                daemon.mapped_before = (copy.track, copy.track.acked.target)
            connection = daemon.connection
            if connection is not None and len(connection.unanswered) > IN_FLIGHT_BATCHES_MAX:
                raise Violation(f"{daemon.name} has {len(connection.unanswered)} batches in flight")

    def take_over(self, records: int) -> None:
        """Begin with a target log that holds records of someone else, and go on behind them."""
        for _ in range(records):
            self.target.append_alien(ALIEN_RECORD, self.now_ms)
        self.target.commit()
        self.judged_from = self.target.log_end
        self.state.take_over(0, self.judged_from)

    def is_given_up(self, offset: int) -> bool:
        """Return whether an operator gave a source offset up."""
        return any(first <= offset < end for first, end in self.given_up)

    def wanted(self, history: dict[int, int]) -> list[int]:
        """Return the records of a history that have to be copied, in order, from wherever the copy began."""
        begin = self.begins_at()
        return [history[offset] for offset in sorted(history) if offset >= begin and not self.is_given_up(offset)]

    def copied(self) -> list[tuple[int, int]]:
        """Return (offset, record) of what was copied to the target."""
        return [
            (offset, record)
            for offset, record in self.target.data()
            if offset >= self.judged_from and not (self.shared and record == ALIEN_RECORD)
        ]

    def _check_prefix(self) -> None:
        if self.alien:
            return
        if self.offsets is not Offsets.IDENTICAL:
            self._check_order()
            return
        copied = {
            batch.base + at: record for batch in self.target.log for at, record in enumerate(batch.produced.records)
        }
        if len(copied) != self.target.log_end or not any(
            all(
                (NO_RECORD if self.is_given_up(offset) else history.get(offset, NO_RECORD)) == record
                for offset, record in copied.items()
            )
            for history in self.source.histories
        ):
            raise Violation(f"the target is no copy of the source: {copied} is in none of {self.source.histories}")

    def _check_order(self) -> None:
        copied = [record for _, record in self.copied()]
        if not any(self.wanted(history)[: len(copied)] == copied for history in self.source.histories):
            raise Violation(f"the target is no copy of the source: {copied} is in none of {self.source.histories}")

    def begins_at(self) -> int:
        """Return the source offset at which copying began: what was recorded first, where offsets are mapped."""
        if self._begins_at is None and self.offsets is Offsets.MAPPED:
            found = self.state.mirror.maps.get(WHERE.partition)
            self._begins_at = found.base.source_end if found is not None else None
        return self._begins_at or 0

    def accept(self) -> None:
        """Let an operator keep what the target holds, whatever it is, and go on behind it from the source's start.

        Records of before are nothing the source has to hold any more.
        """
        self.source.histories = [self.source.histories[-1]]
        self.log_end_shown = self.log_end_shown or self.alien  # our last sequence may lie behind a stranger's record
        self.source.truncated = self.alien = False
        self.judged_from, self._begins_at = self.target.log_end, self.source.start
        self.given_up.clear()
        self.resolved = True
        self.state.take_over(self.source.start, self.judged_from)

    def begin_anew(self) -> None:
        """Let an operator delete the target's topic and create it again, to be filled from the source's start."""
        self.accept()
        self.judged_from = 0
        self.target = TargetPartition(term=self.target.term + 1, mutations=self.target.mutations + 1)
        self.state.take_over(self.source.start, 0)

    def check_blocks(self) -> None:
        """Compare every block on the state topic with the two logs.

        Raises:
            Violation: One says what is not so.
        """
        where = {record: offset for history in self.source.histories for offset, record in history.items()}
        copied = {target: where.get(record) for target, record in self.target.data() if target >= self.judged_from}
        for block in self.state.blocks():
            for run in unpack(block):
                for at in range(run.length):
                    if copied.get(run.target + at, run.source + at) != run.source + at:
                        raise Violation(
                            f"a block says {run}, but {copied[run.target + at]} stands at {run.target + at}"
                        )

    def next_to_copy(self) -> int:
        """Return the source offset behind the last record that was copied."""
        copied = {record for _, record in self.copied()}
        found = [offset for history in self.source.histories for offset, record in history.items() if record in copied]
        return max(found, default=self.begins_at() - 1) + 1

    def displaced_from(self) -> int | None:
        """Return the first offset of the target where a record stands that the state topic's records place elsewhere.

        None also where offsets are mapped: there nothing but the order of records says where each stands.
        """
        found = self.state.mirror.maps.get(WHERE.partition)
        if found is not None and found.mapped:
            return None
        offsets = restored(found.base) if found is not None else OffsetMap(Place(0, 0))
        for target, record in self.copied():
            beyond = target - offsets.end.target
            told = offsets.end.source + beyond if beyond >= 0 else offsets.to_source(target)
            if all(history.get(told) != record for history in self.source.histories):
                return target
        return None

    def is_unrecorded(self) -> bool:
        """Return whether records stand where none of the state topic's records ever told that they do.

        Such a difference can be lost: with the daemon that alone was told of it, or behind another one.
        """
        first = self.displaced_from()
        return first is not None and first >= self._described

    def _see_what_is_described(self) -> None:
        seen = (self.target.mutations, self.state.records[MIRROR_KEY])
        if self.offsets is Offsets.AUTO and seen != self._seen_described:
            self._seen_described = seen
            self._described = min(self._described, self.target.log_end)
            if self.displaced_from() is None:
                self._described = self.target.log_end

    def is_place_lost(self) -> bool:
        """Return whether no walk can begin at any place that is recorded: the source has lost what follows each."""
        return all(
            reading_from(place, self.given_up) < self.source.start or (self.shared and place.target < self.target.start)
            for place in self.state.known_places()
        )

    def _check_reason(self, daemon: Daemon) -> None:
        reason, source = daemon.copy.reason, self.source
        another = source.truncated or source.incarnation > 0 or self.alien
        holds = {
            Reason.SOURCE_TRUNCATED: another or daemon.displaced_by_another,
            Reason.CONTENT_MISMATCH: another or daemon.displaced_by_another,
            Reason.SOURCE_RECREATED: source.incarnation > 0,
            Reason.OVERTAKEN_BY_RETENTION: source.incarnation > 0
            or (source.start > daemon.seen_end and daemon.place_may_be_lost),
            Reason.FOREIGN_WRITER: self.alien,
            Reason.CORRUPT_BATCH: self.lies >= DOUBTS_MAX,
            Reason.RECORD_TOO_LARGE: source.truncated
            or source.incarnation > 0
            or daemon.copy.next_offset in source.odd_offsets,
        }
        if reason is None or not holds.get(reason, False):
            raise Violation(f"{daemon.name} stopped without cause: {reason} {daemon.copy.detail}")


def check_map(world: World, name: str, track: Track, before: tuple[Track, int] | None) -> None:
    """Compare a daemon's map with the two logs, record by record; only what is new since the last time.

    Raises:
        Violation: A copied record is mapped elsewhere.
    """
    offsets, end = track.offsets, track.acked.target  # what a walk found beyond counts once it is resumed from
    known = before[1] if before is not None and before[0] is track else 0
    if track.shift < 0 and not track.mapped:
        raise Violation(f"{name} copies {-track.shift} offsets behind, where markers stand for what is left out")
    if known == end or world.alien or world.source.incarnation:
        return
    where: dict[int, int] = {}
    for history in world.source.histories:
        where.update({record: offset for offset, record in history.items()})
    copied = world.copied()
    for target, record in copied:
        source = where[record]
        if max(known, offsets.begin.target) <= target < end and (
            offsets.to_target(source) != target or offsets.to_source(target) != source
        ):
            raise Violation(
                f"{name} maps {source} to {offsets.to_target(source)} and {target} to {offsets.to_source(target)}, "
                f"but {source} stands at {target}: {list(offsets.runs())} up to {offsets.end}"
            )
    if not world.source.truncated:
        there = {record for _, record in copied}
        history = {
            offset: record for offset, record in world.source.histories[-1].items() if offset < track.acked.source
        }
        if not there.issuperset(world.wanted(history)):
            raise Violation(f"{name} believes that all is copied below {track.acked.source}")
