"""Targets that tell less of producers than Apache Kafka does: what is proven, and what is done then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.copy.attaching.attach import decide
from replicator.core.copy.attaching.facts import OwnProducerState, Resume, Role, SourceLog, Tail, TargetLog, Writer
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Batch, TargetLimits
from replicator.core.copy.writing.answers import ProduceOutcome
from replicator.engine.copy.attaching import target_facts
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.state.ownership import shown_markers
from replicator.errors import Conflict, KafkaError, PreflightFailed
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.wire.messages import control
from replicator.wire.messages.control import ProducerEntry
from replicator.wire.messages.data.transactions import ProducerIdentity
from tests.shards import shard_with

WHERE = TopicPartition("orders", 0)
WRITER = Writer(100, 0, Role.COPYING, 101, 0, 102)
NOW = 1_700_000_000_000
STATE = TopicPartition(STATE_TOPIC, 0)


def slot_at(offset: int) -> Slot:
    """Return a partition in an episode."""
    copy = PartitionCopy(WHERE, TargetLimits(1000, 1000))
    copy.resume(Resume(offset, offset, None))
    return Slot(WHERE, WHERE, copy, shard_with())


def refuse(slot: Slot) -> None:
    """Let the target refuse the sequence of the next batch, and settle."""
    copy = slot.copy
    copy.sending.queue([Batch(copy.reading.next_offset, 5, NOW, 100, None, None)])
    sent = copy.sending.next_to_send(NOW, claimed=True)
    assert sent is not None
    copy.answered(sent, copy.episode, ProduceOutcome.OUT_OF_ORDER, -1, "out of order")
    copy.attach_again()


def test_a_broker_that_refuses_a_sequence_and_tells_of_none_is_gone_round() -> None:
    """One that knows nothing of a producer takes any sequence: behind a fill this went on for ever."""
    slot = slot_at(120)
    assert not target_facts.is_unreported(slot, None)
    refuse(slot)

    assert not target_facts.is_unreported(slot, OwnProducerState(0, 99, NOW)), "what is told is believed"
    assert target_facts.is_unreported(slot, None)
    assert target_facts.is_unreported(slot, OwnProducerState(0, -1, NOW))
    slot.copy.resume(Resume(130, 100, None))
    assert target_facts.is_unreported(slot, None), "once it is known, it is known"


def test_what_is_told_counts_again_where_the_log_is_refused_too() -> None:
    """The refused sequence may have met a batch of another daemon, which the next leader lost: a marker is left."""
    slot = slot_at(120)
    refuse(slot)
    assert target_facts.is_unreported(slot, OwnProducerState(1, -1, NOW))
    assert target_facts.is_unreported(slot, OwnProducerState(1, -1, NOW)), "one refusal tells once"
    slot.copy.resume(Resume(120, 100, None))
    refuse(slot)

    assert not target_facts.is_unreported(slot, OwnProducerState(1, -1, NOW))


def test_the_sequence_then_follows_from_the_last_batch_not_from_the_offset() -> None:
    """20 of the offsets below the end are markers of a fill, which have no sequence of ours."""
    tail = Tail(99, 100, 0, 99, NOW, "record")
    source = SourceLog(0, 200, 200, "record", None)
    told = TargetLog(0, 120, None, tail, entry_known=True)
    untold = TargetLog(0, 120, None, tail, entry_known=False)
    first, second = (decide(WRITER, one, source, ours=True, begin_at=0) for one in (told, untold))

    assert isinstance(first, Resume)
    assert isinstance(second, Resume)
    assert (first.sequence, second.sequence) == (120, 100)


class Target:
    """The leader of a state topic, which tells of some producers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *told: tuple[int, ...] | None, allowed: bool = True) -> None:
        self.told = list(told)
        self.written = 0
        self.spec = SimpleNamespace(alias="west")
        self.allowed = allowed
        self.topic_ids: dict[str, bytes] = {}
        self.lands = True
        monkeypatch.setattr(control, "describe_producers", self.describe)
        monkeypatch.setattr(shown_markers, "empty_transaction", self.write)
        monkeypatch.setattr(shown_markers, "_POLL_SECONDS_MAX", 0.0)
        monkeypatch.setattr(shown_markers, "offsets_of", self.end)
        monkeypatch.setattr(shown_markers, "batches_between", self.batches)

    async def leader_connection(self, where: TopicPartition) -> None:
        """Return whoever leads the state topic."""
        assert where == STATE

    async def describe(self, *_: object) -> dict[TopicPartition, tuple[int, tuple[ProducerEntry, ...]]] | None:
        """Tell what was chosen; the last of it for ever."""
        told = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if told is None:
            return None
        return {STATE: (0, tuple(ProducerEntry(number, 3, -1, NOW, -1) for number in told))}

    async def end(self, *_: object) -> dict[TopicPartition, int]:
        """Tell where the log ends."""
        return {STATE: 7 + (self.written if self.lands else 0)}

    async def batches(
        self, _side: object, _connection: object, _where: object, begin: int, end: int, **_kept: object
    ) -> AsyncIterator[tuple[None, Any, bool]]:
        """Give the marker, once it has landed."""
        for _number in range(begin, end):
            yield None, SimpleNamespace(is_control=True, producer_id=100), False

    async def write(self, *_: object) -> None:
        """Write a marker."""
        if not self.allowed:
            raise Conflict("the id has another epoch by now")
        self.written += 1


async def prove(target: Target) -> None:
    """Prove it."""
    await shown_markers.prove_markers_are_shown(cast("Any", target), "uid", ProducerIdentity(100, 3))


async def test_a_fence_is_begun_only_where_a_marker_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the first marker of a fence there is only forward, and it would be waited for for ever."""
    silent = Target(monkeypatch, (7, 8))
    with pytest.raises(PreflightFailed, match="does not report a producer that wrote a marker"):
        await prove(silent)
    assert silent.written == 1


async def test_a_marker_that_lands_late_proves_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator answers before its markers are written: while a leader moves, that may take long."""
    target = Target(monkeypatch, (7, 8))
    target.lands = False
    with pytest.raises(KafkaError, match="has not landed") as caught:
        await prove(target)
    assert caught.value.retryable


@pytest.mark.parametrize("told", [[(7, 100)], [(7,), (7,), (7, 100)], [None]])
async def test_one_marker_at_most_proves_it(
    monkeypatch: pytest.MonkeyPatch, told: list[tuple[int, ...] | None]
) -> None:
    """None where one of ours is seen already; where DescribeProducers is not offered, the log is looked at anyway."""
    target = Target(monkeypatch, *told)
    await prove(target)

    assert target.written == (1 if len(told) > 1 else 0)


async def test_nothing_is_refused_where_nothing_can_be_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data id may not be usable, and a fence in bulk does not need it."""
    await prove(Target(monkeypatch, (7,), allowed=False))
