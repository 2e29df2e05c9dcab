"""Where the source ends of what is not read now."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.offsets import source_end_reader
from replicator.engine.offsets.source_end_reader import SourceEndReader
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.model.status.states import Reason
from tests.pumps import pump_with
from tests.shards import shard_with

if TYPE_CHECKING:
    import pytest

    from replicator.engine.copy.pump import Pump

IDS = {"a": b"a" * 16, "b": b"b" * 16}


def slot(topic: str, partition: int) -> Slot:
    """Return a partition that was never read."""
    where = TopicPartition(topic, partition)
    return Slot(where, where, PartitionCopy(where, TargetLimits(1 << 20, 0)), shard_with())


async def test_what_nothing_tells_of_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paused, stopped or waiting; not what was seen lately, and never another log under the same name."""
    paused, seen, truncated, recreated, gone = (
        slot("a", 0),
        slot("a", 1),
        slot("a", 2),
        slot("b", 0),
        slot("a", 3),
    )
    paused.copy.pause()
    paused.lag.observe(10, 1.0)
    seen.lag.observe(10, 99.0)
    truncated.copy.fault(Reason.SOURCE_TRUNCATED, "another history")
    slots = {one.source: one for one in (paused, seen, truncated, recreated, gone)}
    ids = {name: SimpleNamespace(topic_id=known) for name, known in (IDS | {"b": b"x" * 16}).items()}
    clock = [100.0]
    pump = pump_with(
        now=lambda: clock[0],
        slots=slots,
        isolation=Isolation.READ_COMMITTED,
        take_silence=lambda _: None,
        source=SimpleNamespace(cluster=SimpleNamespace(topics=ids), topic_ids=IDS),
    )
    asked: list[TopicPartition] = []

    async def ends_of(
        _: object, wanted: dict[TopicPartition, Slot], **how: Any
    ) -> tuple[dict[Any, int], dict[Any, str]]:
        assert how["isolation"] is Isolation.READ_COMMITTED
        asked.extend(wanted)
        clock[0] = 104.0  # the answer takes its time
        del slots[gone.source]
        return dict.fromkeys(wanted, 25), {}

    monkeypatch.setattr(source_end_reader, "ends_of", ends_of)
    await SourceEndReader(cast("Pump", pump)).refresh()
    assert asked == [paused.source, gone.source]
    assert (paused.lag.observed_end, paused.lag.observed_at, paused.lag.lag_records()) == (25, 100.0, 25)
    assert (seen.lag.observed_end, gone.lag.observed_end, recreated.lag.observed_end) == (10, None, None)
