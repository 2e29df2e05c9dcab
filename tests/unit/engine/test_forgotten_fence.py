"""A switch that goes on long after its fence: brokers have forgotten who wrote the markers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.engine.state import records as state
from replicator.engine.state.journal import put_switches
from replicator.engine.switch.steps import fencing
from replicator.engine.switch.steps.fencing import Fencing
from replicator.engine.work import fence
from replicator.errors import Conflict
from replicator.model.names import TopicPartition
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Scope, StepName, StepRecord, Verb
from replicator.state_pb import state_pb2 as pb
from replicator.wire.messages import control
from replicator.wire.messages.control import OffsetResult, ProducerEntry
from replicator.wire.messages.rights_probe import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

UID, PRODUCER, EPOCH = "uid", 100, 3
TOPIC_ID = bytes(range(16))
STEP = do.VerifyFence(EPOCH, Scope())


class Target:
    """A cluster of one broker with one topic, which remembers the epoch of each producer until it is idle too long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, partitions: int = 2) -> None:
        self.spec = SimpleNamespace(alias="west")
        self.topic_ids = {"t": TOPIC_ID}
        self.markers: dict[TopicPartition, list[int]] = {TopicPartition("t", at): [EPOCH] for at in range(partitions)}
        self.remembered = dict.fromkeys(self.markers, EPOCH)
        self.silent = False
        monkeypatch.setattr(control, "describe_producers", self._describe)
        monkeypatch.setattr(control, "list_offsets", self._ends)
        monkeypatch.setattr(fence, "write_markers", self._write)
        monkeypatch.setattr(fence, "may_write_markers", self._may)
        monkeypatch.setattr(fencing, "_FENCE_SECONDS", 0.0)

    async def _may(self, _: object) -> Verdict:
        return Verdict.ALLOWED

    async def refresh(self, _: object) -> None:
        """Nothing moves."""

    async def existing(self, _: object) -> dict[str, object]:
        """Return the topic."""
        leaders = {where.partition: None for where in self.markers}
        return {"t": SimpleNamespace(topic_id=TOPIC_ID, leaders=leaders)}

    def leader(self, _: TopicPartition) -> object:
        """Return the broker."""
        return None if self.silent else SimpleNamespace(node=1)

    async def connection(self, *_: object) -> object:
        """Return a connection to the broker."""
        return None

    async def any_connection(self) -> object:
        """Return a connection to the broker."""
        return None

    async def _describe(
        self, _: object, wanted: list[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, tuple[ProducerEntry, ...]]]:
        told: dict[TopicPartition, tuple[int, tuple[ProducerEntry, ...]]] = {}
        for where in wanted:
            epoch = self.remembered.get(where)
            told[where] = (0, () if epoch is None else (ProducerEntry(PRODUCER, epoch, -1, 0, -1),))
        return told

    async def _write(
        self, _: object, producer_id: int, epoch: int, lengths: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        assert producer_id == PRODUCER
        for where in lengths:
            self.markers[where].append(epoch)
            self.remembered[where] = epoch
        return dict.fromkeys(lengths, 0)

    async def _ends(self, _: object, wanted: list[TopicPartition], *_args: object, **_kept: object) -> object:
        return {where: OffsetResult(0, 10 + len(self.markers[where])) for where in wanted}


class NoCuts(Fencing):
    """The steps of a fence, without the look where the logs were cut."""

    async def cuts(self, *_: object) -> tuple[Any, ...]:
        """Find none."""
        return ()


class Log:
    """A state topic."""

    def __init__(self, journal: Journal) -> None:
        mirror = pb.MirrorRecord(source_topic="t", target_topic="t", target_topic_id=TOPIC_ID)
        writer = pb.WriterRecord(producer_id=PRODUCER, role=pb.WRITER_ROLE_FENCING, fence_epoch=EPOCH)
        changes = [
            state.put(state.mirror_key(UID, "t"), mirror),
            state.put(state.writer_key(UID), writer),
            *put_switches(UID, Switches(journal)),
        ]
        self.records = dict(changes)

    async def read_to_end(self) -> None:
        """Nothing comes."""


def journal(revision: int = 7) -> Journal:
    """Return a failover behind its fence."""
    history = tuple(StepRecord(step, 1) for step in (StepName.PREFLIGHT, StepName.BEGIN_FENCE, StepName.FENCE))
    return Journal("s", Verb.FAILOVER, reached=StepName.FENCE, history=history, revision=revision, fence_epoch=EPOCH)


async def verify(target: Target, recorded: Journal) -> got.Result:
    """Look at the fence."""
    context = SimpleNamespace(target=target, log=Log(recorded), uid=UID, flow=SimpleNamespace(name="e2w"))
    return await NoCuts(cast("Any", context)).verify(journal(), STEP)


async def test_a_fence_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written."""
    target = Target(monkeypatch)
    assert await verify(target, journal()) == got.FenceVerified(())
    assert set(map(len, target.markers.values())) == {1}


async def test_brokers_that_forgot_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take writes of the old epoch again: the fence is raised once more. It was waited for for ever."""
    target = Target(monkeypatch)
    first, second = target.markers
    target.remembered.pop(first)
    monkeypatch.setattr(fencing, "_FENCE_SECONDS", 5.0)
    assert await verify(target, journal()) == got.FenceVerified(())
    assert (target.markers[first], target.markers[second]) == ([EPOCH, EPOCH], [EPOCH])


async def test_a_partition_that_came_behind_the_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the switch, and gets its marker."""
    target = Target(monkeypatch)
    fresh = TopicPartition("t", 2)
    target.markers[fresh] = []
    monkeypatch.setattr(fencing, "_FENCE_SECONDS", 5.0)
    assert await verify(target, journal()) == got.FenceVerified(())
    assert target.markers[fresh] == [EPOCH]


async def test_whoever_is_late_marks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target may have been opened by now."""
    target = Target(monkeypatch)
    target.remembered.clear()
    with pytest.raises(Conflict, match="advanced by someone else"):
        await verify(target, journal(revision=8))
    assert set(map(len, target.markers.values())) == {1}


async def test_a_leader_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for; nothing is concluded from it."""
    target = Target(monkeypatch)
    target.silent = True
    found = await verify(target, journal())
    assert isinstance(found, got.NotYet)
    assert "no leader" in found.why
