"""What an old source holds too many is exported once, however many do it at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from replicator.engine.logs.dead_letter import OFFSET_HEADER
from replicator.engine.switch.places import log_ends
from replicator.engine.switch.steps import divergent as tails
from replicator.engine.switch.steps.divergent import DIGEST_HEADER, Divergent
from replicator.errors import Conflict
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import Isolation
from replicator.model.switch.terms import Cut
from replicator.model.units import parse_bootstrap
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.cluster import Cluster
from replicator.wire.messages.data.produce import produce_by_name
from tests.integration.kafka_client import Kafka, create, read_all
from tests.integration.load import numbered, produce

if TYPE_CHECKING:
    from replicator.engine.switch.context import SwitchContext

pytestmark = pytest.mark.long

TAIL = 60
TRIES_MAX = 200


@asynccontextmanager
async def opened(source: Kafka, target: Kafka) -> AsyncIterator[dict[str, Cluster]]:
    """Open both sides."""
    async with AsyncExitStack() as stack:
        found = {}
        for alias, cluster in (("source", source), ("target", target)):
            found[alias] = Cluster(ClusterSpec(alias, parse_bootstrap(cluster.bootstrap)))
            stack.callback(found[alias].close)
            await found[alias].open()
        yield found


async def export(source: Kafka, target: Kafka, cut: Cut, where: TopicPartition) -> None:
    """Export a tail as a daemon does: whoever is overtaken begins anew."""
    async with opened(source, target) as found:
        await found["source"].refresh([cut.topic])
        one = Divergent(cast("SwitchContext", SimpleNamespace(uid=cut.topic, **found)))
        for _ in range(TRIES_MAX):
            try:
                await one._export(cut, where)
            except Conflict:
                await asyncio.sleep(0.01)
            else:
                return
    pytest.fail("it was overtaken again and again")


ODD = [
    NewRecord(1_000, None, None, ()),
    NewRecord(1_001, b"", b"", ((b"", None), (b"", b""))),
    NewRecord(1_002, b"\xff\xfe", None, ((b"\xff\xfe", b"\xff"), (b"\xc3", None))),
    NewRecord(1_003, None, b"v", ((b"twice", b"1"), (b"twice", b"2"), (b"twice", b"1"))),
    NewRecord(1_004, b"k", b"v", ((b"n" * 65_536, b"w" * 65_536),)),
    NewRecord(1_005, b"k", b"v", ((OFFSET_HEADER, b"77"), (DIGEST_HEADER, b"mine"), (OFFSET_HEADER, b"abc"))),
    NewRecord(1_006, b"k" * 65_536, b"v", tuple((b"\x1b[2J", b"%d" % at) for at in range(500))),
    NewRecord(0, b"\x00", b"\n", ((b"a\x00b", b"\x1b[2J"),)),
]
"""Whatever an application may write: no name of a header needs to be text, nor to stand there once."""


async def test_odd_records_are_exported_as_they_are(east: Kafka, west: Kafka, topic_name: str) -> None:
    """Each with its own headers, byte for byte and in their order, and with ours behind them."""
    origin, where = TopicPartition(topic_name, 0), TopicPartition(f"{topic_name}.divergent", 0)
    create(east, topic_name)
    create(west, where.topic)
    async with opened(east, west) as found:
        answer = await produce_by_name(await found["source"].leader_connection(origin), origin, encode(ODD), None)
        assert not answer.error
    for _ in range(2):  # the second time there is nothing left to do
        await export(east, west, Cut(topic_name, 0, 0, 0, tail_end=len(ODD)), where)
    async with opened(east, west) as found:
        await found["target"].refresh([where.topic])
        end = (await log_ends(found["target"], [where], isolation=Isolation.READ_COMMITTED))[where]
        exported = [one async for one in tails._records(found["target"], where, 0, end)]
    assert [NewRecord(one.timestamp, one.key, one.value, one.headers[:-4]) for one in exported] == ODD
    assert [dict(one.headers[-4:])[OFFSET_HEADER] for one in exported] == [b"%d" % at for at in range(len(ODD))]


@pytest.mark.parametrize("offset", [b"abc", b"", b"-5", b"9" * 5_000, None])
async def test_a_record_of_somebody_else_is_no_part_of_an_export(
    east: Kafka, west: Kafka, topic_name: str, offset: bytes | None
) -> None:
    """Whatever its headers say: nothing is written behind it."""
    where = TopicPartition(f"{topic_name}.divergent", 0)
    create(east, topic_name)
    create(west, where.topic)
    produce(east, topic_name, numbered(3))
    strange = NewRecord(1, None, b"strange", ((OFFSET_HEADER, offset), (DIGEST_HEADER, b"x")))
    async with opened(east, west) as found:
        connection = await found["target"].leader_connection(where)
        assert not (await produce_by_name(connection, where, encode([strange]), None)).error
        await found["source"].refresh([topic_name])
        one = Divergent(cast("SwitchContext", SimpleNamespace(uid=topic_name, **found)))
        with pytest.raises(Conflict, match="holds records that were not exported"):
            await one._export(Cut(topic_name, 0, 0, 0, tail_end=3), where)
    (there,) = read_all(west, where.topic, isolation=Isolation.READ_COMMITTED).values()
    assert [record.value for record in there] == [b"strange"]


async def test_three_at_once(east: Kafka, west: Kafka, topic_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces that take turns: each record once, and in order."""
    monkeypatch.setattr(tails, "_PIECE_RECORDS", 5)
    where = TopicPartition(f"{topic_name}.divergent", 0)
    create(east, topic_name)
    create(west, where.topic)
    produce(east, topic_name, numbered(10 + TAIL))
    cut = Cut(topic_name, 0, 10, 10, tail_end=10 + TAIL)
    await asyncio.gather(*(export(east, west, cut, where) for _ in range(3)))
    (found,) = read_all(west, where.topic, isolation=Isolation.READ_COMMITTED).values()
    assert [one.value for one in found] == [b"value-%d" % at for at in range(10, 10 + TAIL)]
