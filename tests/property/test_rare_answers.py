"""Histories of the source's answers too rare to be met by chance, each with the rule that it is about broken once."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading.doubt import ResponseBounds
from replicator.core.copy.reading.pieces import Piece
from replicator.core.copy.values import Ending
from replicator.engine.copy import pump
from replicator.engine.copy.reading.reader import SourceReader
from replicator.engine.copy.reading.taking import RequestedPartition
from replicator.model.names import TopicPartition
from replicator.model.spec import Offsets
from tests.copy_world.home import at_home
from tests.copy_world.lies import far_beyond
from tests.copy_world.rules import DOUBT_MS, SOUND, Rules, Violation
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend
from tests.copy_world.world import World
from tests.property.scripted import started, wait, with_patches, work, work_rounds

MAPPED, AUTO = Offsets.MAPPED, Offsets.AUTO


class _BelievesAnyEnd(PartitionCopy):
    """Does not ask where the log ends."""

    __slots__ = ()

    def offer(
        self, headers: Any, aborted: Any, edges: ResponseBounds, *given: Any
    ) -> tuple[list[Piece], Ending | None]:
        """Drop the log's end."""
        return super().offer(headers, aborted, ResponseBounds(leader_epoch=edges.leader_epoch), *given)


def _batch_beyond_the_end(rules: Rules) -> World:
    """Let a batch claim an offset that is far too high, and be filled up to before anything else is read."""
    world = World(rules=rules)
    with at_home(world, 0):
        daemon = started(world)
        wait(world, daemon, DOUBT_MS + 5_000)
        world.source.append(1, world.now_ms, "control")
        work_rounds(world, daemon, 3)  # one fill, so that the next needs no look of its own
        world.source.append(1, world.now_ms)
        world.source.append(1, world.now_ms)
        world.current.lie = (far_beyond, 0)
        (pipe,) = daemon.pipes_for(*FETCH)
        world.hear(pipe)  # an empty answer, from before
        world.deliver(pipe)
        world.hear(pipe)
        assert world.current.lies == 1
        for _ in range(3):
            attend(world, daemon, *CONTROL, *PRODUCE, commits=True)
            world.check()
        work_rounds(world, daemon, 6)
    return world


def test_a_batch_beyond_the_logs_end_is_not_believed() -> None:
    """The next fetch would be out of range; but what is missing before the batch may be filled sooner."""
    assert _batch_beyond_the_end(SOUND).target.data() == [(1, 2), (2, 3)]

    with pytest.raises(Violation, match="no copy of the source"):
        _batch_beyond_the_end(with_patches(SOUND, (pump, "PartitionCopy", _BelievesAnyEnd)))


_take = SourceReader._take
_send = SourceReader._send


def _takes_by_name(
    self: SourceReader, frame: Any, session: Any, asked_of: dict[TopicPartition, RequestedPartition]
) -> Any:
    """Take an answer for whoever has the name by now."""
    slots = self._plan.slots
    by_name = {where: asked._replace(slot=slots.get(where, asked.slot)) for where, asked in asked_of.items()}
    return _take(self, frame, session, by_name)


def _remembers_who_asked(
    self: SourceReader, connection: Any, body: Any, session: Any, asked_of: Any, frame: Any
) -> None:
    """Keep who asked, even where he is gone."""
    _send(self, connection, body, session, dict(asked_of), frame)


def _answer_for_a_successor(rules: Rules) -> World:
    """Let a partition begin anew, at an earlier place, while an answer to the one before is on its way."""
    world = World(rules=rules, offsets=MAPPED)
    with at_home(world, 0):
        world.source.append(1, world.now_ms)
        daemon = started(world)
        wait(world, daemon, DOUBT_MS + 5_000)
        daemon.hand_over()  # and taken up again under a claim that is effective at once: attached once, not twice
        while daemon.is_up:
            attend(world, daemon, *CONTROL)
            world.advance(100)
        daemon.take_up()
        work(world, daemon)
        assert world.target.high_watermark == 1
        (pipe,) = daemon.pipes_for(*FETCH)
        world.source.append(1, world.now_ms)
        world.settle()
        assert world.hear(pipe)
        world.source.append(1, world.now_ms)
        assert world.deliver(pipe)
        (produce,) = daemon.pipes_for(*PRODUCE)
        produce.lose()
        world.settle()
        for lost in list(world.zombies):
            world.drop(lost)
        daemon.succeed()
        world.settle()
        attend(world, daemon, *CONTROL)
        assert daemon.copy.is_copying()
        world.hear(pipe)
        for _ in range(3):
            attend(world, daemon, *CONTROL, *PRODUCE, commits=True)
            world.check()
        work_rounds(world, daemon, 8)
    return world


def test_an_answer_belongs_to_the_partition_that_asked() -> None:
    """A successor of the same name may be in an episode of the same number."""
    assert _answer_for_a_successor(SOUND).target.data() == [(0, 1), (1, 2), (2, 3)]

    by_name = ((SourceReader, "_take", _takes_by_name), (SourceReader, "_send", _remembers_who_asked))
    with pytest.raises(Violation, match="no copy of the source"):
        _answer_for_a_successor(with_patches(SOUND, *by_name))
