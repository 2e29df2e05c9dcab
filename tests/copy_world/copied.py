"""One partition of a world: its logs on both sides, what happened to them, and what the state topic records of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.offsets.offset_map import Block, OffsetMap, OffsetPair, pack
from replicator.core.offsets.pairing import reading_from
from replicator.engine.copy.partitions.live_maps import restored
from replicator.engine.state import records as state
from replicator.model.names import TopicPartition
from replicator.model.spec import Offsets
from replicator.state_pb import state_pb2 as pb
from tests.copy_world.rules import TOPIC, UID
from tests.copy_world.source_log import FetchAnswer, SourcePartition
from tests.copy_world.target_log import ALIEN_RECORD, TargetPartition

if TYPE_CHECKING:
    from tests.copy_world.lies import Lie
    from tests.copy_world.world import World

_RECORDS_MAX = 1_000_000
"""Records of one partition in one history: those of different partitions are never equal."""


@dataclass(eq=False)
class CopiedPartition:
    """One partition, on both sides.

    Attributes:
        world: The world.
        number: The partition's number.
        active: The mirror record: it was copied before.
        stored_epoch: The mirror record's source leader epoch.
        alien: Whether someone else wrote to the target.
        given_up: Source offsets that an operator gave up, from and to.
        judged_from: Target offset below which the log was taken over.
        haunted: Whether markers landed beyond what any wait assumes.
        resolved: Whether an operator let copying begin behind, or without, what was copied before.
        lie: How the next answer of the source is spoiled on its way, and where in it.
        lies: How many were.
    """

    world: World
    number: int
    source: SourcePartition = field(default_factory=SourcePartition)
    target: TargetPartition = field(default_factory=TargetPartition)
    active: bool = False
    stored_epoch: int = -1
    alien: bool = False
    given_up: list[tuple[int, int]] = field(default_factory=list)
    judged_from: int = 0
    haunted: bool = False
    resolved: bool = False
    lie: tuple[Lie, int] | None = None
    lies: int = 0
    _begins_at: int | None = None

    def __post_init__(self) -> None:
        self.where = TopicPartition(TOPIC, self.number)
        self.source.first_record(1 + self.number * _RECORDS_MAX)

    # -- the state topic ---------------------------------------------------------------------------------------------

    def seeds(self, offset: int) -> None:
        """Record that the target may hold fillers below an offset."""
        record = self.world.mirror
        record.seeded[self.number] = offset
        self.world.change(record)

    def give_up(self, first: int, end: int) -> None:
        """Let an operator give source offsets up."""
        self.given_up.append((first, end))
        record = self.world.mirror
        record.given_up[self.number].ranges.add(first=first, end=end)
        self.world.change(record)

    def _record_taken_over(self, source_begin: int, target_end: int) -> None:
        """Record that copying begins behind what stands on the target, mapped."""
        place = OffsetPair(source_begin, target_end)
        record = self.world.mirror
        block = pb.OffsetBlock(runs=pack(place, []))
        block.source_begin, block.target_begin = block.source_end, block.target_end = place
        made = pb.PartitionMap(
            generation=record.maps[self.number].generation + 1, mapped=True, judged_from=target_end, base=block
        )
        record.maps[self.number].CopyFrom(made)
        if self.number in record.given_up:
            del record.given_up[self.number]
        self.world.change(record)

    @property
    def map_generation(self) -> int:
        """The generation of its recorded map; 0 for none."""
        found = self.world.mirror.maps.get(self.number)
        return found.generation if found is not None else 0

    def blocks(self) -> list[Block]:
        """Return the blocks of the present generation."""
        found = self.world.mirror.maps.get(self.number)
        return [
            Block(
                OffsetPair(record.block.source_begin, record.block.target_begin),
                OffsetPair(record.block.source_end, record.block.target_end),
                record.block.runs,
            )
            for _, record in state.segments_of(self.world.state.records, UID, *self.where)
            if found is not None and record.generation == found.generation
        ]

    def known_places(self) -> list[OffsetPair]:
        """Return all places that any record of the present generation says."""
        found = self.world.mirror.maps.get(self.number)
        if found is None:
            return []
        return [OffsetPair(found.base.source_end, found.base.target_end)] + [block.end for block in self.blocks()]

    # -- the network --------------------------------------------------------------------------------------------------

    def spoiled(self, answer: FetchAnswer) -> FetchAnswer:
        """Return an answer as it arrives."""
        if self.lie is None or not answer.batches:
            return answer
        self.lies += 1
        (spoil, pick), self.lie = self.lie, None
        return spoil(answer, pick)

    # -- what the logs say --------------------------------------------------------------------------------------------

    def check_place(self, name: str, target_end: int) -> None:
        """Note if a daemon goes on behind a difference that is not recorded; `check` raises it."""
        displaced = self.displaced_from() if self.world.offsets is Offsets.AUTO and not self.alien else None
        if displaced is not None and displaced < target_end:
            self.world.found.append(f"{name} goes on at {target_end} behind a difference that is not recorded")

    def take_over(self, records: int) -> None:
        """Begin with a target log that holds records of someone else, and go on behind them."""
        for _ in range(records):
            self.target.append_alien(ALIEN_RECORD, self.world.now_ms)
        self.target.commit()
        self.judged_from = self.target.log_end
        self._record_taken_over(0, self.judged_from)

    def seen(self) -> tuple[int, ...]:
        """Return what is different once a fetch that waits may have something to tell."""
        source, target = self.source, self.target
        return (
            source.end,
            source.start,
            source.incarnation,
            len(source.epochs),
            target.mutations,
            target.high_watermark,
            target.start,
        )

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
            if offset >= self.judged_from and not (self.world.shared and record == ALIEN_RECORD)
        ]

    def begins_at(self) -> int:
        """Return the source offset at which copying began: what was recorded first, where offsets are mapped."""
        if self._begins_at is None and self.world.offsets is Offsets.MAPPED:
            found = self.world.mirror.maps.get(self.number)
            self._begins_at = found.base.source_end if found is not None else None
        return self._begins_at or 0

    def accept(self) -> None:
        """Let an operator keep what the target holds, whatever it is, and go on behind it from the source's start.

        Records of before are nothing the source has to hold any more.
        """
        self.source.histories = [self.source.histories[-1]]
        # Our last sequence may lie behind a stranger's record.
        self.world.log_end_shown = self.world.log_end_shown or self.alien
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
        found = self.world.mirror.maps.get(self.number)
        if found is not None and found.mapped:
            return None
        offsets = restored(found.base) if found is not None else OffsetMap(OffsetPair(0, 0))
        for target, record in self.copied():
            beyond = target - offsets.end.target
            told = offsets.end.source + beyond if beyond >= 0 else offsets.to_source(target)
            if all(history.get(told) != record for history in self.source.histories):
                return target
        return None

    def is_place_lost(self) -> bool:
        """Return whether no walk can begin at any place that is recorded: the source has lost what follows each."""
        return all(
            reading_from(place, self.given_up) < self.source.start
            or (self.world.shared and place.target < self.target.start)
            for place in self.known_places()
        )
