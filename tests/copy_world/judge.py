"""The judge of a partition: is the target a copy, is every map exact, has every stop a reason that holds?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.reading.doubt import DOUBTS_MAX
from replicator.core.copy.values import IN_FLIGHT_BATCHES_MAX, Phase
from replicator.core.offsets.offset_map import unpack
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from tests.copy_world.rules import Violation
from tests.copy_world.target_log import FILLER, NO_RECORD

if TYPE_CHECKING:
    from replicator.core.copy.machine import PartitionCopy
    from replicator.core.copy.track import Track
    from tests.copy_world.copied import CopiedPartition
    from tests.copy_world.daemon import Daemon
    from tests.copy_world.world import World


class Judge:
    """Looks at one partition of a world; only at what has changed since the last time."""

    def __init__(self, world: World, partition: CopiedPartition) -> None:
        self.world = world
        self.partition = partition
        self._seen_mutations = 0
        self._described = 0
        self._source_start = 0
        self._seen_described: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise unless the target is a copy, every map is exact and every stop has a reason that holds.

        Raises:
            Violation: It is not, one is not, or one does not.
        """
        self._source_start = max(self._source_start, self.partition.source.start)
        if self.world.found:
            raise Violation(self.world.found[0])
        if self.partition.target.mutations != self._seen_mutations:
            self._seen_mutations = self.partition.target.mutations
            self._check_prefix()
        self._see_what_is_described()
        for daemon in self.world.daemons:
            slot = daemon.slot_of(self.partition.number)
            if slot is None:
                continue
            copy, noted = slot.copy, daemon.noted[self.partition.number]
            if copy.phase is Phase.FAULTED and daemon.works and not slot.attach.begins_again:
                self._check_reason(daemon, copy)
            elif copy.phase is Phase.COPYING and copy.target_end > self.partition.target.high_watermark:
                raise Violation(f"{daemon.name} believes {copy.target_end} to be acknowledged")
            # After an operator began anew, a map of before means nothing until its daemon has read of that.
            if copy.track is not None and (copy.is_copying() or not self.partition.resolved):
                check_map(self.partition, daemon.name, copy.track, noted.mapped_before)
                noted.mapped_before = (copy.track, copy.track.acked.target)
            self._check_places(daemon.name, copy)
            for pipe in daemon.pipes_for("target produce"):
                if pipe.unanswered > IN_FLIGHT_BATCHES_MAX:
                    raise Violation(f"{daemon.name} has {pipe.unanswered} batches in flight")

    def _check_places(self, name: str, copy: PartitionCopy) -> None:
        """Where a stranger has written: nobody goes on who takes a record for standing where it does not."""
        if not self.partition.alien or self.world.offsets is not Offsets.IDENTICAL or copy.phase is not Phase.COPYING:
            return
        where = {record: offset for history in self.partition.source.histories for offset, record in history.items()}
        for target, record in self.partition.target.data():
            source = where.get(record, target)
            if source != target and source < copy.acked_offset:
                raise Violation(f"{name} goes on though offset {source} landed at {target}")

    def _check_prefix(self) -> None:
        if self.partition.alien:
            return
        if self.world.offsets is not Offsets.IDENTICAL:
            self._check_order()
            return
        copied = {
            batch.base + at: record
            for batch in self.partition.target.log
            for at, record in enumerate(batch.produced.records)
        }
        if len(copied) != self.partition.target.log_end or not any(
            all(self._may_stand(record, offset, history) for offset, record in copied.items())
            for history in self.partition.source.histories
        ):
            raise Violation(
                f"the target is no copy of the source: {copied} is in none of {self.partition.source.histories}"
            )

    def _may_stand(self, record: int, offset: int, history: dict[int, int]) -> bool:
        if record == FILLER:  # of a seed: retention has taken what was there
            return offset < self._source_start
        return record == (NO_RECORD if self.partition.is_given_up(offset) else history.get(offset, NO_RECORD))

    def _check_order(self) -> None:
        copied = [record for _, record in self.partition.copied()]
        if not any(
            self.partition.wanted(history)[: len(copied)] == copied for history in self.partition.source.histories
        ):
            raise Violation(
                f"the target is no copy of the source: {copied} is in none of {self.partition.source.histories}"
            )

    def is_unrecorded(self) -> bool:
        """Return whether records stand where none of the state topic's records ever told that they do.

        Such a difference can be lost: with the daemon that alone was told of it, or behind another one.
        """
        first = self.partition.displaced_from()
        return first is not None and first >= self._described

    def _see_what_is_described(self) -> None:
        seen = (self.partition.target.mutations, self.world.state.changed)
        if self.world.offsets is Offsets.AUTO and seen != self._seen_described:
            self._seen_described = seen
            self._described = min(self._described, self.partition.target.log_end)
            if self.partition.displaced_from() is None:
                self._described = self.partition.target.log_end

    def _check_reason(self, daemon: Daemon, copy: PartitionCopy) -> None:
        noted = daemon.noted[self.partition.number]
        reason, source = copy.reason, self.partition.source
        another = source.truncated or source.incarnation > 0 or self.partition.alien
        holds = {
            Reason.SOURCE_TRUNCATED: another or noted.displaced_by_another,
            Reason.CONTENT_MISMATCH: another or noted.displaced_by_another,
            Reason.SOURCE_RECREATED: source.incarnation > 0,
            Reason.OVERTAKEN_BY_RETENTION: source.incarnation > 0
            or (source.start > noted.seen_end and noted.place_may_be_lost),
            # Of a topic that was made anew before anything was copied, what was seeded looks like a stranger's.
            Reason.FOREIGN_WRITER: self.partition.alien or (self.world.late and source.incarnation > 0),
            Reason.CORRUPT_BATCH: self.partition.lies >= DOUBTS_MAX,
            Reason.RECORD_TOO_LARGE: source.truncated
            or source.incarnation > 0
            or bool(source.odd_offsets),  # it need not stand where the partition stands
        }
        if reason is None or not holds.get(reason, False):
            raise Violation(f"{daemon.name} stopped without cause: {reason} {copy.detail}")

    def check_blocks(self) -> None:
        """Compare every block on the state topic with the two logs.

        Raises:
            Violation: One says what is not so.
        """
        where = {record: offset for history in self.partition.source.histories for offset, record in history.items()}
        copied = {
            target: where.get(record)
            for target, record in self.partition.target.data()
            if target >= self.partition.judged_from
        }
        for block in self.partition.blocks():
            for run in unpack(block):
                for at in range(run.length):
                    if copied.get(run.target + at, run.source + at) != run.source + at:
                        raise Violation(
                            f"a block says {run}, but {copied[run.target + at]} stands at {run.target + at}"
                        )


def check_map(partition: CopiedPartition, name: str, track: Track, before: tuple[Track, int] | None) -> None:
    """Compare a daemon's map with the two logs, record by record; only what is new since the last time.

    Raises:
        Violation: A copied record is mapped elsewhere.
    """
    offsets, end = track.offsets, track.acked.target  # what a walk found beyond counts once it is resumed from
    known = before[1] if before is not None and before[0] is track else 0
    if track.shift < 0 and not track.mapped:
        raise Violation(f"{name} copies {-track.shift} offsets behind, where markers stand for what is left out")
    if known == end or partition.alien or partition.source.incarnation:
        return
    where: dict[int, int] = {}
    for history in partition.source.histories:
        where.update({record: offset for offset, record in history.items()})
    copied = partition.copied()
    for target, record in copied:
        source = where[record]
        if max(known, offsets.begin.target) <= target < end and (
            offsets.to_target(source) != target or offsets.to_source(target) != source
        ):
            raise Violation(
                f"{name} maps {source} to {offsets.to_target(source)} and {target} to {offsets.to_source(target)}, "
                f"but {source} stands at {target}: {list(offsets.runs())} up to {offsets.end}"
            )
    if not partition.source.truncated:
        there = {record for _, record in copied}
        history = {
            offset: record for offset, record in partition.source.histories[-1].items() if offset < track.acked.source
        }
        if not there.issuperset(partition.wanted(history)):
            raise Violation(f"{name} believes that all is copied below {track.acked.source}")
