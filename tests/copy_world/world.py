"""The world: two clusters, the network, the clock, the daemons, and what must hold in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.engine.state import records as state
from replicator.model.names import STATE_TOPIC, state_transactional_id
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from replicator.state_pb import state_pb2 as pb
from replicator.wire.batches.records import NewRecord, encode
from tests.copy_world.broker import Broker
from tests.copy_world.copied import CopiedPartition
from tests.copy_world.daemon import Daemon
from tests.copy_world.judge import Judge
from tests.copy_world.loop import VirtualLoop
from tests.copy_world.moving import LeaseService, MovingDaemon
from tests.copy_world.network import Answering, Pipe
from tests.copy_world.rules import MIRROR_KEY, REQUEST_SECONDS, UID, Rules, Violation
from tests.copy_world.sides import SourceBrokers, TargetBrokers
from tests.copy_world.state_partition import Coordinator, StatePartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.copy_world.source_log import SourcePartition
    from tests.copy_world.target_log import TargetPartition


BEGAN_MS = 1_700_000_000_000
BEGAN_SECONDS = 1000.0
_TOPIC_PASS_SECONDS = 5.0
_SAFE_APIS = frozenset({1, 2, 3, 10, 23, 61})
"""Requests that change nothing: what of them is still on its way when their connection is lost does not matter."""


@dataclass(eq=False)
class World:
    """Source, target, state topic, network and clock, shared by all daemons.

    Attributes:
        count: How many partitions the topic has.
        one_at_a_time: The brokers work on one request per connection at a time, as Kafka does; others pipeline.
        zombies: Closed connections whose requests may still arrive.
        offsets: What the flow promises.
        fill_length_max: The flow's `fill_limit`.
        log_end_shown: Whether attaches are told the true log end.
        compacted: Whether a cleaner is known to work on the source's log; else one may have, once.
        markers_denied: Whether markers may not be written in bulk.
        shared: Whether others write to the target all the time, as they may (`loop_guard: origin`).
        fetch_opens_seconds: How long it takes until a connection for fetches is open.
        moving: Whether the shard moves by leases and signs of life; else a history works the claim.
        late: Whether the source's log begins above 0 before anything is copied: the target's is seeded.
        stops_on_loss: Whether work ends with the lease where no coordinator answers.
        found: What was seen that must never happen.
        reasons: Why partitions have stopped so far.
    """

    rules: Rules = field(default_factory=Rules)
    count: int = 1
    one_at_a_time: bool = True
    offsets: Offsets = Offsets.IDENTICAL
    shared: bool = False
    zombies: list[Pipe] = field(default_factory=list)
    fill_length_max: int = 5_000_000
    log_end_shown: bool = False
    compacted: bool = True
    markers_denied: bool = False
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
        self.partitions = [CopiedPartition(self, number) for number in range(self.count)]
        self.current = self.partitions[0]
        self._judges = [Judge(self, each) for each in self.partitions]
        self._born = 0
        self._passed_at = BEGAN_SECONDS
        self._dead: list[str] = []
        self._woken_at: tuple[object, ...] = ()
        self._put([state.put(MIRROR_KEY, pb.MirrorRecord())])

    @property
    def now_ms(self) -> int:
        """The wall clock."""
        return BEGAN_MS + round((self.loop.time() - BEGAN_SECONDS) * 1000)

    @property
    def source(self) -> SourcePartition:
        """The source's log of the partition that events are about."""
        return self.current.source

    @property
    def target(self) -> TargetPartition:
        """The target's log of the partition that events are about."""
        return self.current.target

    def each(self) -> Iterator[CopiedPartition]:
        """Let the world be about one partition after the other, and then about that of before."""
        before = self.current
        for each in self.partitions:
            self.current = each
            yield each
        self.current = before

    # -- what the brokers ask -----------------------------------------------------------------------------------------

    def state_producers(self) -> list[tuple[int, int, int, int]]:
        """Return what is known of producers on the state topic."""
        return [(each.producer_id, 0, -1, self.now_ms) for each in self.state.log if each.producer_id >= 0]

    def _mark(self, where: tuple[str, int], producer_id: int, epoch: int, commit: bool) -> None:  # noqa: FBT001 - one call
        if where[0] == STATE_TOPIC:
            self.state.mark(producer_id, epoch, self.now_ms, commit=commit)
        else:
            self.partitions[where[1]].target.append_marker(producer_id, epoch, self.now_ms)

    def commit(self) -> None:
        """Let the replicas of all partitions of the target follow."""
        for each in self.partitions:
            each.target.commit()

    # -- the state topic ----------------------------------------------------------------------------------------------

    def _put(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        self.state.append(encode([NewRecord(self.now_ms, key, value) for key, value in changes]))

    def change(self, record: pb.MirrorRecord) -> None:
        """Change the mirror's record as an operator's command does: whoever else is changing it is fenced."""
        self.coordinator.begin(state_transactional_id(UID))
        self._put([state.put(MIRROR_KEY, record)])

    @property
    def mirror(self) -> pb.MirrorRecord:
        """The mirror's record as committed."""
        return pb.MirrorRecord.FromString(self.state.records[MIRROR_KEY])

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
        if not self.parked:
            return
        seen = (*(each.seen() for each in self.partitions), self.state.changed, len(self.parked))
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
        for each in self.partitions:
            each.target.time_passed(now_ms)
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
        for judge in self._judges:
            judge.check()

    def is_unrecorded(self, number: int) -> bool:
        """Return whether records of a partition stand where none of the state topic's records ever told that they do.

        Such a difference can be lost: with the daemon that alone was told of it, or behind another one.
        """
        return self._judges[number].is_unrecorded()

    def check_blocks(self) -> None:
        """Compare every block on the state topic with the two logs.

        Raises:
            Violation: One says what is not so.
        """
        for judge in self._judges:
            judge.check_blocks()
