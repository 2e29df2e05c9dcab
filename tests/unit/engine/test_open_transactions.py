"""When an open transaction of the source is reported, what is said of it, and when it is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kio.schema.describe_producers.v0.request import DescribeProducersRequest
from kio.schema.describe_producers.v0.response import (
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)
from kio.schema.errors import ErrorCode
from kio.schema.list_offsets.v6.request import ListOffsetsRequest
from kio.schema.list_offsets.v6.response import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from kio.schema.types import ProducerId, TopicName
from kio.static.primitive import i32, i32Timedelta, i64

from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.reading.reader import SourceReader
from replicator.engine.copy.reading.taking import RequestedPartition
from replicator.engine.copy.watching import open_transactions
from replicator.engine.copy.watching.open_transactions import OpenTransactions
from replicator.errors import ConnectionFailed
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import Isolation
from replicator.wire.messages.data.fetch import Fetched
from replicator.wire.topology import Leader
from tests.pumps import pump_with
from tests.shards import shard_with

WHERE = TopicPartition("orders", 0)
NOW_MS = 1_790_000_100_000  # 2026-09-21 14:15:00 UTC
STANDS = open_transactions._OPEN_SECONDS_MIN
AT_ONCE = i32Timedelta.parse(timedelta(0))
EAST = ClusterSpec("east", (("east-1", 9092), ("east-2", 9092)))


def producer(number: int, start: int) -> ProducerState:
    """Return what a broker says of one producer; `start` is -1 where it has no open transaction."""
    return ProducerState(
        producer_id=ProducerId(number),
        producer_epoch=i32(3),
        coordinator_epoch=i32(1),
        current_txn_start_offset=i64(start),
    )


@dataclass
class Source:
    """The source's leader of one partition, and the clock. It is a cluster, a connection and a pump at once."""

    stable: int = 1234
    end: int = 1300
    producers: tuple[ProducerState, ...] = (producer(1, -1), producer(2, 1280), producer(4711, 1234))
    code: ErrorCode = ErrorCode.none
    offered: bool = True
    down: bool = False
    silent: bool = False
    time: float = 100.0
    asked: list[str] = field(default_factory=list)
    spec: ClusterSpec = EAST

    def __post_init__(self) -> None:
        self.slot = Slot(WHERE, WHERE, PartitionCopy(WHERE, TargetLimits(1000, 0)), shard_with())
        pump = pump_with(
            source=SimpleNamespace(cluster=self),
            slots={WHERE: self.slot},
            now=lambda: self.time,
            now_ms=lambda: NOW_MS + int(self.time * 1000),
        )
        self.watch = OpenTransactions("flow", cast("Any", pump))
        self.versions = SimpleNamespace(offers=lambda _key, _version: self.offered)

    def leader(self, _where: TopicPartition) -> Leader:
        """Return the same broker for ever."""
        return Leader(1, 0)

    async def connection(self, _node: int, _purpose: object) -> Source:
        """Return the broker, if it is up."""
        if self.down:
            raise ConnectionFailed("down", cluster="east")
        return self

    async def call(self, request: object, _answer: type) -> object:
        """Answer as a broker would."""
        if self.silent:
            await asyncio.sleep(60)
        self.asked.append(type(request).__name__.removesuffix("Request"))
        if isinstance(request, ListOffsetsRequest):
            at = i64(self.stable if request.isolation_level else self.end)
            one = ListOffsetsPartitionResponse(partition_index=i32(0), error_code=ErrorCode.none, offset=at)
            topic = ListOffsetsTopicResponse(name=TopicName("orders"), partitions=(one,))
            return ListOffsetsResponse(throttle_time=AT_ONCE, topics=(topic,))
        assert isinstance(request, DescribeProducersRequest)
        active = self.producers if self.code is ErrorCode.none else ()
        found = PartitionResponse(partition_index=i32(0), error_code=self.code, active_producers=active)
        return DescribeProducersResponse(
            throttle_time=AT_ONCE, topics=(TopicResponse(name=TopicName("orders"), partitions=(found,)),)
        )

    def fetched(self) -> None:
        """Let a fetch answer tell what stands there now."""
        self.slot.seen.observe_stable(self.stable, self.end, self.time)

    async def look_after(self, seconds: float) -> None:
        """Let time pass, and look."""
        self.time += seconds
        await self.watch.check()

    @property
    def detail(self) -> str:
        """What is said now, empty for nothing."""
        return self.slot.seen.held_up_by.detail if self.slot.seen.held_up_by else ""


async def test_what_stands_for_long_enough_is_told_with_producer_offset_and_command() -> None:
    """The oldest transaction is the one that holds up the others; nobody is asked before it is time."""
    source = Source()
    source.fetched()
    await source.look_after(STANDS - 1)
    assert (source.detail, source.asked) == ("", [])

    await source.look_after(1)

    assert source.detail == (
        "open transaction of producer id 4711 since 2026-09-21 14:16:40 UTC (offset 1234) on orders-0; "
        "records after it wait; next: wait for its producer, or if that is gone: "
        "kafka-transactions.sh --bootstrap-server east-1:9092,east-2:9092 abort --topic orders --partition 0 "
        "--start-offset 1234"
    )
    assert source.asked == ["ListOffsets", "ListOffsets", "DescribeProducers"]


async def test_the_log_says_once_that_records_wait_and_once_that_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes in between, and whatever is learned meanwhile."""
    lines: list[tuple[str, str, str]] = []

    def into(level: str) -> Callable[..., None]:
        return lambda event, **fields: lines.append((level, event, fields["partition"]))

    monkeypatch.setattr(open_transactions, "log", SimpleNamespace(warning=into("warning"), info=into("info")))
    source = Source(code=ErrorCode.topic_authorization_failed)
    source.fetched()
    for _ in range(3):
        await source.look_after(STANDS)
    source.code = ErrorCode.none
    await source.look_after(STANDS)
    source.stable = source.end
    source.fetched()
    for _ in range(2):
        await source.look_after(5)

    assert lines == [("warning", "records wait", "orders-0"), ("info", "records wait no longer", "orders-0")]
    assert (source.detail, source.slot.seen.open_transaction) == ("", None)


async def test_one_that_is_known_is_not_asked_for_again() -> None:
    """As long as the last stable offset stands, it is the same."""
    source = Source()
    source.fetched()
    await source.look_after(STANDS)
    source.asked.clear()
    await source.look_after(5)

    assert source.asked == ["ListOffsets", "ListOffsets"]
    assert "4711" in source.detail


async def test_the_next_open_transaction_is_another_one() -> None:
    """The first is over as soon as the last stable offset moves; the second has its own ten seconds."""
    source = Source()
    source.fetched()
    await source.look_after(STANDS)
    source.stable, source.producers = 1280, (producer(2, 1280),)
    source.fetched()
    assert source.detail == ""

    await source.look_after(5)
    assert source.detail == ""
    await source.look_after(5)
    assert "producer id 2 " in source.detail


async def test_a_partition_that_is_not_read_is_asked_about_anew() -> None:
    """With a slow target the last fetch may be old: what it told is no proof that anything is open."""
    source = Source()
    source.fetched()
    source.stable = source.end
    await source.look_after(STANDS)
    assert (source.slot.seen.open_since, source.asked) == (None, ["ListOffsets", "ListOffsets"])

    source = Source()
    source.fetched()
    await source.look_after(STANDS)
    source.stable = source.end
    await source.look_after(5)
    assert source.detail == ""


async def test_no_open_transaction_is_made_up() -> None:
    """Its marker may stand already, and not be on all replicas yet."""
    for producers in ((), (producer(1, -1),), (producer(2, 1280),)):
        source = Source(producers=producers)
        source.fetched()
        await source.look_after(STANDS)
        assert (source.detail, source.asked[-1]) == ("", "DescribeProducers")


async def test_without_the_producer_the_rest_is_told() -> None:
    """Refused: an operator's rights may do. Not offered: Kafka's tool needs it too, so there is no command."""
    source = Source(code=ErrorCode.topic_authorization_failed)
    source.fetched()
    await source.look_after(STANDS)
    assert "an unknown producer (the source answers DescribeProducers with TOPIC_AUTHORIZATION_FAILED)" in source.detail
    assert "--start-offset 1234" in source.detail
    source.code = ErrorCode.none
    await source.look_after(5)
    assert "producer id 4711 " in source.detail

    source = Source(offered=False)
    source.fetched()
    await source.look_after(STANDS)
    assert "(the source does not offer DescribeProducers)" in source.detail
    assert "(offset 1234) on orders-0; records after it wait" in source.detail
    assert source.detail.endswith("next: wait for its producer, or its coordinator")


async def test_a_broker_that_is_away_changes_nothing() -> None:
    """What was known stays until somebody knows better."""
    source = Source()
    source.fetched()
    await source.look_after(STANDS)
    source.down = True
    await source.look_after(5)

    assert "4711" in source.detail


async def test_a_broker_that_does_not_answer_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is bounded."""
    monkeypatch.setattr(open_transactions, "_ANSWER_SECONDS_MAX", 0.01)
    source = Source(silent=True)
    source.fetched()
    await source.look_after(STANDS)

    assert (source.detail, source.asked) == ("", [])


def test_since_when_counts_from_the_first_sight_of_a_stable_offset_that_stands() -> None:
    """Also while records are written behind it; at the end of the log nothing is open."""
    slot = Source().slot
    for stable, end, now in ((5, 5, 1.0), (5, 9, 2.0), (5, 12, 3.0)):
        slot.seen.observe_stable(stable, end, now)
    assert (slot.seen.stable_offset, slot.seen.open_since) == (5, 2.0)
    slot.seen.observe_stable(9, 12, 4.0)
    assert (slot.seen.stable_offset, slot.seen.open_since) == (9, 4.0)
    slot.seen.observe_stable(12, 12, 5.0)
    assert slot.seen.open_since is None


@pytest.mark.parametrize(
    ("isolation", "expected"), [(Isolation.READ_COMMITTED, (5, 7.0, 5)), (Isolation.READ_UNCOMMITTED, (-1, None, 9))]
)
def test_a_fetch_answer_tells_where_the_stable_offset_stands(
    expected: tuple[int, float | None, int], *, isolation: Isolation
) -> None:
    """Only for flows that copy committed records: to the others nothing is held up."""
    slot = Source().slot
    pump = cast("Any", SimpleNamespace(isolation=isolation, now=lambda: 7.0))
    answer = Fetched(WHERE, 0, 9, 5, 0, None, None, 0, 0)
    asked = RequestedPartition(slot, slot.copy.episode, 0)
    SourceReader(pump, pump, 1)._handler.take(asked, answer, cast("Any", None), 0.0, alone=False)

    assert (slot.seen.stable_offset, slot.seen.open_since, slot.lag.observed_end) == expected
