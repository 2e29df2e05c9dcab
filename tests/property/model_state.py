"""A model of the state topic, and what one daemon has read of it.

Compare-and-set works as in `engine.state.log`: whoever begins a change fences every change begun before, and decides
from what is committed then. Plain appends are not protected by anything: they may be late, repeated or lost.
`engine.copy.live_maps.OffsetMaps` itself runs on top of it; each of its waits is a moment in which anything may happen.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field

from replicator.core.offsets.offset_map import Block, Place, pack
from replicator.engine.state import records as state
from replicator.errors import Conflict, ConnectionFailed
from replicator.model.names import TopicPartition
from replicator.state_pb import state_pb2 as pb

WHERE = TopicPartition("orders", 0)
UID = "flow"
MIRROR_KEY = state.mirror_key(UID, WHERE.topic)
FATES = ("taken", "taken", "taken", "lost", "late", "repeated", "unanswered")
"""What may become of a plain append."""
_ROUNDS_MAX = 5

Change = tuple[bytes, bytes | None]


@types.coroutine
def moment() -> Generator[None, None, None]:
    """Wait for the history to go on with this daemon."""
    yield


@dataclass(slots=True)
class StateTopic:
    """The committed records, by key.

    Attributes:
        fence: Rises with each change that is begun: it fences those begun before.
        down: Whether it is out of reach.
        late: Plain appends on their way, each with the time it was sent at.
    """

    records: dict[bytes, bytes] = field(default_factory=lambda: {MIRROR_KEY: b""})
    fence: int = 0
    down: bool = False
    late: list[tuple[int, list[Change]]] = field(default_factory=list)

    def apply(self, changes: Iterable[Change]) -> None:
        """Take records and tombstones."""
        for key, value in changes:
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    @property
    def mirror(self) -> pb.MirrorRecord:
        """The mirror's record as committed."""
        return pb.MirrorRecord.FromString(self.records[MIRROR_KEY])

    def give_up(self, first: int, end: int) -> None:
        """Let an operator give source offsets up: a change like any other."""
        self.fence += 1
        record = self.mirror
        record.given_up[WHERE.partition].ranges.add(first=first, end=end)
        self.apply([state.put(MIRROR_KEY, record)])

    def take_over(self, source_begin: int, target_end: int) -> None:
        """Let an operator keep what stands on the target: copying begins behind it, mapped."""
        self.fence += 1
        place = Place(source_begin, target_end)
        record = self.mirror
        block = pb.OffsetBlock(runs=pack(place, []))
        block.source_begin, block.target_begin = block.source_end, block.target_end = place
        made = pb.PartitionMap(
            generation=record.maps[WHERE.partition].generation + 1, mapped=True, judged_from=target_end, base=block
        )
        record.maps[WHERE.partition].CopyFrom(made)
        record.given_up.clear()
        self.apply([state.put(MIRROR_KEY, record)])

    def blocks(self) -> list[Block]:
        """Return the blocks of the present generation."""
        found = self.mirror.maps.get(WHERE.partition)
        return [
            Block(
                Place(record.block.source_begin, record.block.target_begin),
                Place(record.block.source_end, record.block.target_end),
                record.block.runs,
            )
            for _, record in state.segments_of(self.records, UID, *WHERE)
            if found is not None and record.generation == found.generation
        ]

    def known_places(self) -> list[Place]:
        """Return all places that any record of the present generation says."""
        found = self.mirror.maps.get(WHERE.partition)
        if found is None:
            return []
        return [Place(found.base.source_end, found.base.target_end)] + [block.end for block in self.blocks()]


class StateView:
    """What one daemon does with the state topic; stands in for `engine.state.log.StateLog`.

    Attributes:
        records: What it has read.
        fate: What becomes of its next plain append.
    """

    def __init__(self, topic: StateTopic, now_ms: Callable[[], int], *, compares: bool) -> None:
        self._topic = topic
        self._now_ms = now_ms
        self._compares = compares
        self.records = dict(topic.records)
        self.fate = FATES[0]

    def follow(self) -> None:
        """Read what is committed by now."""
        self.records = dict(self._topic.records)

    async def read_to_end(self) -> None:
        """As `StateLog.read_to_end`."""
        await moment()
        if self._topic.down:
            raise ConnectionFailed("the state topic is out of reach", cluster="west")
        self.follow()

    async def change(
        self, flow_uid: str, decide: Callable[[Mapping[bytes, bytes]], list[Change]]
    ) -> Mapping[bytes, bytes]:
        """As `StateLog.change`."""
        topic = self._topic
        for _ in range(_ROUNDS_MAX):
            await moment()
            topic.fence += 1
            fence = topic.fence
            await self.read_to_end()
            changes = decide(self.records)
            if not changes:
                return self.records
            await moment()
            if self._compares and topic.fence != fence:
                continue
            topic.apply(changes)
            await self.read_to_end()
            return self.records
        raise Conflict(f"the state of {flow_uid} could not be changed")

    async def append(self, changes: Iterable[Change]) -> None:
        """As `StateLog.append`; `fate` says how it ends."""
        kept = list(changes)
        fate, self.fate = self.fate, FATES[0]
        if fate in {"late", "repeated"}:
            self._topic.late.append((self._now_ms(), kept))
        if fate in {"taken", "repeated", "unanswered"}:
            self._topic.apply(kept)
            self.follow()
        if fate in {"late", "lost", "unanswered"}:
            raise ConnectionFailed("no answer", cluster="west")
        await moment()
