"""Which partitions answer, and what the others say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.track import Track
from replicator.core.copy.values import TargetLimits
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.core.topics.plan import MirrorFault
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.offsets import time as translate_time
from replicator.engine.offsets.translate import answers
from replicator.engine.topics.mirror import Mirror
from replicator.errors import ConnectionFailed, UsageError
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import OffsetQuestion, TimeQuestion, Translation, TranslationState
from replicator.model.spec import Isolation
from replicator.model.status.states import Reason
from tests.pumps import pump_with
from tests.shards import shard_with

if TYPE_CHECKING:
    from replicator.engine.copy.pump import Pump
    from replicator.engine.offsets.team import TranslatingTeam

MIRROR = Mirror("orders", "dr.orders", partitions=2)


class DeadCluster:
    """One whose brokers are known, and do not answer."""

    spec = SimpleNamespace(alias="east")

    def leader(self, _where: TopicPartition) -> object:
        """Return who led last."""
        return SimpleNamespace(node=1)

    async def connection(self, _node: int, _purpose: object) -> object:
        """Reach nobody."""
        raise ConnectionFailed("refused", cluster="west")


def slot() -> Slot:
    """Return a partition whose logs were not compared yet."""
    made = Slot(
        TopicPartition("orders", 0), TopicPartition("dr.orders", 0),
        PartitionCopy(TopicPartition("orders", 0), TargetLimits(1 << 20, 0)), shard_with(),
    )  # fmt: skip
    made.seen.source_start, made.seen.target_start = 5, 10
    return made


def copied() -> Slot:
    """Return one that is copied up to 100, and has its records two offsets lower on the target from 50 on."""
    made = slot()
    track = Track(OffsetMap(OffsetPair(0, 0)), mapped=True)
    made.copy.track = track
    track.land(48)
    track.skip(50, 2)
    track.land(98)
    made.copy.resume(Resume(100, 98, None, -2))
    return made


async def ask(held: Slot | None, offset: int, mirror: Mirror = MIRROR, *, reverse: bool = False) -> Translation:
    """Ask about partition 0 while no broker answers."""
    side = SimpleNamespace(cluster=DeadCluster())
    pump = SimpleNamespace(source=side, target=side, partitions={} if held is None else {held.source: held})
    topic = mirror.target_topic if reverse else mirror.topic
    questions = [OffsetQuestion(topic, 0, offset)]
    return (await answers(cast("Pump", pump), {mirror.topic: mirror}, questions, reverse=reverse))[0]


async def test_a_log_start_that_cannot_be_read_is_taken_as_last_seen() -> None:
    """And the answer says so: a source that is gone must not keep anybody from its offsets."""
    found = await ask(copied(), 60)
    low = await ask(copied(), 3)
    back = await ask(copied(), 49, reverse=True)

    assert (found.target_offset, found.state) == (58, TranslationState.EXACT)
    assert found.detail == "the target's log started at 10 when it was last seen; now it cannot be asked: refused"
    assert (low.target_offset, low.state) == (10, TranslationState.BELOW_LOG_START)
    assert (back.source_offset, back.topic, back.target_topic) == (51, "orders", "dr.orders")


@pytest.mark.parametrize(
    ("reason", "answered"),
    [
        (Reason.SOURCE_RECREATED, False),
        (Reason.CONTENT_MISMATCH, False),
        (Reason.FENCED, True),
        (Reason.OVERTAKEN_BY_RETENTION, True),
    ],
)
async def test_a_fault_silences_a_partition_only_where_offsets_lost_their_meaning(
    reason: Reason,
    answered: bool,  # noqa: FBT001 - drawn by name
) -> None:
    """What was copied to a promoted target stands where it stood."""
    held = copied()
    held.copy.fault(reason, "look")

    found, beyond = await ask(held, 60), await ask(held, 103)

    assert found.is_translated == answered
    if answered:
        assert beyond.behind_records == 3
        assert beyond.detail is not None
        fenced = "a switch fenced it: what lies beyond is copied in the other direction"
        assert beyond.detail.endswith(fenced if reason is Reason.FENCED else f"the partition is FAULTED ({reason})")
    else:
        assert (found.state, found.detail) == (TranslationState.FAULTED, f"{reason}: look")


async def test_what_was_never_compared_has_no_answer() -> None:
    """With the reason: paused since the start, a mirror that stands still, a partition that came just now."""
    paused = slot()
    paused.copy.pause()
    still = Mirror("orders", "orders", fault=MirrorFault(Reason.PARTITION_COUNT, "3 here, 2 there"))

    for held, mirror, why in ((paused, MIRROR, "resume"), (None, still, "3 here, 2 there"), (None, MIRROR, "yet")):
        found = await ask(held, 5, mirror)
        assert (found.state, found.is_translated) == (TranslationState.NOT_ATTACHED, False)
        assert why in (found.detail or "")


async def test_a_source_that_does_not_answer_tells_no_moment() -> None:
    """Nothing is guessed from what the target holds: every partition says why, and the question is still checked."""
    side = SimpleNamespace(cluster=DeadCluster())
    pump = cast("Pump", pump_with(source=side, target=side, slots={}, isolation=Isolation.READ_COMMITTED))
    mirrors = {MIRROR.topic: MIRROR}
    team = cast("TranslatingTeam", SimpleNamespace(answers=_nothing_asked))

    found = await translate_time.answers(TimeQuestion("orders", 5), pump, mirrors, team)

    assert [(each.partition, each.state, each.is_translated) for each in found] == [
        (0, TranslationState.SOURCE_UNSEEN, False),
        (1, TranslationState.SOURCE_UNSEEN, False),
    ]
    assert found[0].detail == "east cannot be asked now: refused"
    for question in (TimeQuestion("orders", 5, 2), TimeQuestion("dr.orders", 5)):
        with pytest.raises(UsageError):
            await translate_time.answers(question, pump, mirrors, team)


async def _nothing_asked(questions: list[OffsetQuestion]) -> list[Translation]:
    assert not questions
    return []


async def test_a_question_that_cannot_be_meant_is_refused() -> None:
    """An unknown topic (of the asked side), a partition beyond the last, an offset below 0."""
    for question, reverse in (
        (OffsetQuestion("dr.orders", 0, 5), False),
        (OffsetQuestion("orders", 0, 5), True),
        (OffsetQuestion("orders", 2, 5), False),
        (OffsetQuestion("orders", 0, -1), False),
    ):
        with pytest.raises(UsageError):
            await answers(cast("Pump", SimpleNamespace(partitions={})), {"orders": MIRROR}, [question], reverse=reverse)
