"""The world: two clusters, the network, the clock, the daemons, and what must hold in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.offsets.offset_map import Block, OffsetMap, OffsetPair, pack
from replicator.core.offsets.pairing import reading_from
from replicator.engine.copy.live_maps import restored
from replicator.engine.state import records as state
from replicator.model.names import STATE_TOPIC, state_transactional_id
from replicator.model.spec import Offsets
from replicator.model.states import Reason
from replicator.state_pb import state_pb2 as pb
from replicator.wire.batches.records import NewRecord, encode
from tests.copy_world.broker import Broker
from tests.copy_world.daemon import Daemon
from tests.copy_world.judge import Judge
from tests.copy_world.lies import Lie
from tests.copy_world.loop import VirtualLoop
from tests.copy_world.moving import LeaseService, MovingDaemon
from tests.copy_world.network import Answering, Pipe
from tests.copy_world.rules import MIRROR_KEY, REQUEST_SECONDS, UID, WHERE, Rules, Violation
from tests.copy_world.sides import SourceBrokers, TargetBrokers
from tests.copy_world.source_log import FetchAnswer, SourcePartition
from tests.copy_world.state_partition import Coordinator, StatePartition
from tests.copy_world.target_log import ALIEN_RECORD, ProducedBatch, TargetPartition

if TYPE_CHECKING:
    from collections.abc import Callable


BEGAN_MS = 1_700_000_000_000
BEGAN_SECONDS = 1000.0
_TOPIC_PASS_SECONDS = 5.0
_SAFE_APIS = frozenset({1, 2, 3, 10, 23, 61})
"""Requests that change nothing: what of them is still on its way when their connection is lost does not matter."""


@dataclass(eq=False)
class World:
    """Source, target, state topic, network and clock, shared by all daemons.

    Attributes:
        one_at_a_time: The brokers work on one request per connection at a time, as Kafka does; others pipeline.
        zombies: Closed connections whose requests may still arrive.
        active: The mirror record: this partition was copied before.
        stored_epoch: The mirror record's source leader epoch.
        alien: Whether someone else wrote to the target.
        offsets: What the flow promises.
        fill_length_max: The flow's `fill_limit`.
        given_up: Source offsets that an operator gave up, from and to.
        judged_from: Target offset below which the log was taken over.
        log_end_shown: Whether attaches are told the true log end.
        resolved: Whether an operator let copying begin behind, or without, what was copied before.
        haunted: Whether markers landed beyond what any wait assumes.
        compacted: Whether a cleaner is known to work on the source's log; else one may have, once.
        markers_denied: Whether markers may not be written in bulk.
        lie: How the next answer of the source is spoiled on its way, and where in it.
        lies: How many were.
        shared: Whether others write to the target all the time, as they may (`loop_guard: origin`).
        fetch_opens_seconds: How long it takes until a connection for fetches is open.
        moving: Whether the shard moves by leases and signs of life; else a history works the claim.
        late: Whether the source's log begins above 0 before anything is copied: the target's is seeded.
        stops_on_loss: Whether work ends with the lease where no coordinator answers.
        found: What was seen that must never happen.
        reasons: Why partitions have stopped so far.
    """

    rules: Rules = field(default_factory=Rules)
    one_at_a_time: bool = True
    offsets: Offsets = Offsets.IDENTICAL
    shared: bool = False
    source: SourcePartition = field(default_factory=SourcePartition)
    target: TargetPartition = field(default_factory=TargetPartition)
    zombies: list[Pipe] = field(default_factory=list)
    active: bool = False
    stored_epoch: int = -1
    alien: bool = False
    fill_length_max: int = 5_000_000
    given_up: list[tuple[int, int]] = field(default_factory=list)
    judged_from: int = 0
    haunted: bool = False
    resolved: bool = False
    log_end_shown: bool = False
    compacted: bool = True
    markers_denied: bool = False
    lie: tuple[Lie, int] | None = None
    lies: int = 0
    fetch_opens_seconds: float = 0.0
    moving: bool = False
    late: bool = False
    stops_on_loss: bool = False
    found: list[str] = field(default_factory=list)
    reasons: set[Reason] = field(default_factory=set)
    daemons: list[Daemon] = field(default_factory=list)
    parked: dict[Pipe, Callable[..., bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loop = VirtualLoop(BEGAN_SECONDS)  # type: ignore[abstract] # what is not there nobody asks for
        self.leases = LeaseService(self.loop)
        self.state = StatePartition()
        self.coordinator = Coordinator(self._mark, lambda: self.now_ms)
        self.brokers: dict[str, Broker] = {
            "source": SourceBrokers(self, "source"),
            "target": TargetBrokers(self, "target"),
        }
        self._judge = Judge(self)
        self._raws: dict[int, tuple[ProducedBatch, bytes]] = {}
        self._born = 0
        self._passed_at = BEGAN_SECONDS
        self._dead: list[str] = []
        self._begins_at: int | None = None
        self._woken_at: tuple[int, ...] = ()
        self._put([state.put(MIRROR_KEY, pb.MirrorRecord())])

    @property
    def now_ms(self) -> int:
        """The wall clock."""
        return BEGAN_MS + round((self.loop.time() - BEGAN_SECONDS) * 1000)

    # -- what the brokers ask -----------------------------------------------------------------------------------------

    def keep_raw(self, produced: ProducedBatch, raw: bytes) -> None:
        """Keep the bytes of a batch that is about to be appended."""
        self._raws[id(produced)] = produced, raw

    def raw_of(self, produced: ProducedBatch) -> bytes | None:
        """Return the bytes of a batch, None for what the model put there by itself."""
        found = self._raws.get(id(produced))
        return found[1] if found is not None else None

    def state_producers(self) -> list[tuple[int, int, int, int]]:
        """Return what is known of producers on the state topic."""
        return [(each.producer_id, 0, -1, self.now_ms) for each in self.state.log if each.producer_id >= 0]

    def spoiled(self, answer: FetchAnswer) -> FetchAnswer:
        """Return an answer as it arrives."""
        if self.lie is None or not answer.batches:
            return answer
        self.lies += 1
        (spoil, pick), self.lie = self.lie, None
        return spoil(answer, pick)

    def _mark(self, where: tuple[str, int], producer_id: int, epoch: int, commit: bool) -> None:  # noqa: FBT001 - one call
        if where[0] == STATE_TOPIC:
            self.state.mark(producer_id, epoch, self.now_ms, commit=commit)
        else:
            self.target.append_marker(producer_id, epoch, self.now_ms)

    # -- the state topic ----------------------------------------------------------------------------------------------

    def _put(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        self.state.append(encode([NewRecord(self.now_ms, key, value) for key, value in changes]))

    def _change(self, record: pb.MirrorRecord) -> None:
        """Change the mirror's record as an operator's command does: whoever else is changing it is fenced."""
        self.coordinator.begin(state_transactional_id(UID))
        self._put([state.put(MIRROR_KEY, record)])

    @property
    def mirror(self) -> pb.MirrorRecord:
        """The mirror's record as committed."""
        return pb.MirrorRecord.FromString(self.state.records[MIRROR_KEY])

    def seeds(self, offset: int) -> None:
        """Record that the target may hold fillers below an offset."""
        record = self.mirror
        record.seeded[WHERE.partition] = offset
        self._change(record)

    def give_up(self, first: int, end: int) -> None:
        """Let an operator give source offsets up."""
        self.given_up.append((first, end))
        record = self.mirror
        record.given_up[WHERE.partition].ranges.add(first=first, end=end)
        self._change(record)

    def _record_taken_over(self, source_begin: int, target_end: int) -> None:
        """Record that copying begins behind what stands on the target, mapped."""
        place = OffsetPair(source_begin, target_end)
        record = self.mirror
        block = pb.OffsetBlock(runs=pack(place, []))
        block.source_begin, block.target_begin = block.source_end, block.target_end = place
        made = pb.PartitionMap(
            generation=record.maps[WHERE.partition].generation + 1, mapped=True, judged_from=target_end, base=block
        )
        record.maps[WHERE.partition].CopyFrom(made)
        record.given_up.clear()
        self._change(record)

    def blocks(self) -> list[Block]:
        """Return the blocks of the present generation."""
        found = self.mirror.maps.get(WHERE.partition)
        return [
            Block(
                OffsetPair(record.block.source_begin, record.block.target_begin),
                OffsetPair(record.block.source_end, record.block.target_end),
                record.block.runs,
            )
            for _, record in state.segments_of(self.state.records, UID, *WHERE)
            if found is not None and record.generation == found.generation
        ]

    def known_places(self) -> list[OffsetPair]:
        """Return all places that any record of the present generation says."""
        found = self.mirror.maps.get(WHERE.partition)
        if found is None:
            return []
        return [OffsetPair(found.base.source_end, found.base.target_end)] + [block.end for block in self.blocks()]

    # -- daemons ------------------------------------------------------------------------------------------------------

    def start_daemon(self) -> Daemon:
        """Start a daemon that knows nothing but what the clusters tell it."""
        self._born += 1
        name = f"daemon-{self._born}"
        daemon = MovingDaemon(self, name, self._take_dead()) if self.moving else Daemon(self, name)
        self.daemons.append(daemon)
        self.loop.run_ready()
        return daemon

    def kill_daemon(self, daemon: Daemon) -> None:
        """Kill a daemon: its memory is gone, its requests may still arrive."""
        self.daemons.remove(daemon)
        self._dead.append(daemon.name)
        daemon.kill()

    def _take_dead(self) -> str | None:
        """Return a daemon that has ended, and whose state directory nobody has taken yet."""
        return self._dead.pop() if self._dead else None

    # -- the network --------------------------------------------------------------------------------------------------

    def closed(self, pipe: Pipe) -> None:
        """A daemon closed a connection: what it has sent may still arrive."""
        self.parked.pop(pipe, None)
        for daemon in self.daemons:
            if pipe in daemon.pipes:
                daemon.pipes.remove(pipe)
        kept = [request for request in pipe.undelivered if request.api_key not in _SAFE_APIS]
        pipe.undelivered.clear()
        pipe.undelivered.extend(kept)
        if kept and pipe not in self.zombies:
            self.zombies.append(pipe)

    def deliver(self, pipe: Pipe) -> bool:
        """Let the broker take the next request of a connection, open or closed."""
        if not pipe.undelivered or pipe in self.parked or (self.one_at_a_time and pipe.is_working):
            return False
        answering = Answering(pipe.undelivered.popleft())
        if pipe.is_open:
            pipe.taken.append(answering)
        pipe.cluster.take(pipe, answering)
        if not pipe.undelivered and pipe in self.zombies:
            self.zombies.remove(pipe)
        self._wake()
        return True

    def hear(self, pipe: Pipe) -> bool:
        """Let the next answer of a connection arrive."""
        if not pipe.hear():
            return False
        self.settle()
        return True

    def settle(self) -> None:
        """Let the daemons do what they can without anybody else."""
        self.loop.run_ready()
        self._look_for_failures()
        self._wake()

    def _wake(self) -> None:
        """Answer the fetches that waited for something which is there by now."""
        source, target = self.source, self.target
        seen = (
            source.end,
            source.start,
            source.incarnation,
            len(source.epochs),
            target.mutations,
            target.high_watermark,
            target.start,
            self.state.changed,
            len(self.parked),
        )
        if seen == self._woken_at:
            return
        for pipe, answer in list(self.parked.items()):
            if answer(at_last=False):
                self.parked.pop(pipe, None)
        self._woken_at = (*seen[:-1], len(self.parked))

    def turn_off(self, alias: str) -> None:
        """Let all brokers of a cluster be gone, or come back; what they know they know again."""
        broker = self.brokers[alias]
        broker.is_down = not broker.is_down
        if broker.is_down:
            broker.sessions.clear()
            for pipe in [pipe for daemon in self.daemons for pipe in daemon.pipes if pipe.cluster is broker]:
                pipe.lose("its broker is gone")
        self.settle()

    def drop(self, pipe: Pipe) -> None:
        """Let what a closed connection still carried vanish."""
        pipe.undelivered.clear()
        self.zombies.remove(pipe)

    def advance(self, milliseconds: int, *, hears_first: bool = False) -> None:
        """Let time pass: time-outs close connections, tails are committed, old requests vanish.

        Args:
            milliseconds: How much.
            hears_first: Whether the daemons were frozen meanwhile, and hear what has been answered before they look at
                a clock, as an event loop does.
        """
        self.loop.jump(milliseconds / 1000)
        for pipe in [pipe for daemon in self.daemons for pipe in daemon.pipes_for()] if hears_first else ():
            while self.hear(pipe):
                pass
        self.loop.fire()
        if self.loop.time() - self._passed_at >= _TOPIC_PASS_SECONDS:
            self._passed_at = self.loop.time()
            for daemon in self.daemons:
                daemon.look_at_topic()
        now_ms = self.now_ms
        self.target.time_passed(now_ms)
        self.coordinator.time_passed()
        for pipe, answer in list(self.parked.items()):
            if pipe.parked is not None and now_ms >= pipe.parked[1] and answer(at_last=True):
                self.parked.pop(pipe, None)
        for pipe in list(self.zombies):
            if now_ms - pipe.undelivered[-1].sent_ms >= REQUEST_SECONDS * 1000:
                self.drop(pipe)
        self.settle()

    def _look_for_failures(self) -> None:
        if self.loop.failures:
            failure = self.loop.failures[0]
            raise Violation(f"{failure.get('message', '')} {failure.get('exception')!r}") from failure.get("exception")

    # -- the invariant -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise unless the target is a copy, every map is exact and every stop has a reason that holds.

        Raises:
            Violation: It is not, one is not, or one does not.
        """
        self._judge.check()

    def is_unrecorded(self) -> bool:
        """Return whether records stand where none of the state topic's records ever told that they do.

        Such a difference can be lost: with the daemon that alone was told of it, or behind another one.
        """
        return self._judge.is_unrecorded()

    def check_place(self, daemon: Daemon) -> None:
        """Note if a daemon goes on behind a difference that is not recorded; `check` raises it."""
        displaced = self.displaced_from() if self.offsets is Offsets.AUTO and not self.alien else None
        if displaced is not None and displaced < daemon.copy.target_end:
            self.found.append(
                f"{daemon.name} goes on at {daemon.copy.target_end} behind a difference that is not recorded"
            )

    def take_over(self, records: int) -> None:
        """Begin with a target log that holds records of someone else, and go on behind them."""
        for _ in range(records):
            self.target.append_alien(ALIEN_RECORD, self.now_ms)
        self.target.commit()
        self.judged_from = self.target.log_end
        self._record_taken_over(0, self.judged_from)

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

    def begins_at(self) -> int:
        """Return the source offset at which copying began: what was recorded first, where offsets are mapped."""
        if self._begins_at is None and self.offsets is Offsets.MAPPED:
            found = self.mirror.maps.get(WHERE.partition)
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
        self._record_taken_over(self.source.start, self.judged_from)

    def begin_anew(self) -> None:
        """Let an operator delete the target's topic and create it again, to be filled from the source's start."""
        self.accept()
        self.judged_from = 0
        self.target = TargetPartition(term=self.target.term + 1, mutations=self.target.mutations + 1)
        self._record_taken_over(self.source.start, 0)

    def next_to_copy(self) -> int:
        """Return the source offset behind the last record that was copied."""
        copied = {record for _, record in self.copied()}
        found = [offset for history in self.source.histories for offset, record in history.items() if record in copied]
        return max(found, default=self.begins_at() - 1) + 1

    def displaced_from(self) -> int | None:
        """Return the first offset of the target where a record stands that the state topic's records place elsewhere.

        None also where offsets are mapped: there nothing but the order of records says where each stands.
        """
        found = self.mirror.maps.get(WHERE.partition)
        if found is not None and found.mapped:
            return None
        offsets = restored(found.base) if found is not None else OffsetMap(OffsetPair(0, 0))
        for target, record in self.copied():
            beyond = target - offsets.end.target
            told = offsets.end.source + beyond if beyond >= 0 else offsets.to_source(target)
            if all(history.get(told) != record for history in self.source.histories):
                return target
        return None

    def check_blocks(self) -> None:
        """Compare every block on the state topic with the two logs.

        Raises:
            Violation: One says what is not so.
        """
        self._judge.check_blocks()

    def is_place_lost(self) -> bool:
        """Return whether no walk can begin at any place that is recorded: the source has lost what follows each."""
        return all(
            reading_from(place, self.given_up) < self.source.start or (self.shared and place.target < self.target.start)
            for place in self.known_places()
        )
