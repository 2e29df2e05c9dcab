"""Control requests about very many partitions, against a small server on real loopback sockets."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import cast

import pytest
from kio.schema.errors import ErrorCode
from kio.schema.list_offsets.v6 import request as offsets_request
from kio.schema.list_offsets.v6 import response as offsets_response
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i32Timedelta, i64

from replicator.errors import ConnectionFailed
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.messages import control, questions
from replicator.wire.topology import Leader as Led
from replicator.wire.transport.connection import Connection
from tests.unit.wire.peer import Peer, frame_of, next_request

AT_ONCE = i32Timedelta.parse(timedelta())
PARTITIONS = [TopicPartition(f"t{number // 10}", number % 10) for number in range(2500)]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A peer, closed afterwards."""
    one = Peer()
    yield one
    await one.close()


def end_of(topic: str, partition: int) -> int:
    """Return the end that the server tells of a partition."""
    return int(topic[1:]) * 100 + partition


class Leader:
    """Answers ListOffsets, with a time where one was asked for.

    Args:
        hangs_up_at: The number of the request that it hangs up on instead of answering it.
        refused: Topics it refuses.
    """

    def __init__(self, hangs_up_at: int | None = None, refused: tuple[str, ...] = ()) -> None:
        self.asked: list[int] = []
        self._refused = refused
        self._hangs_up_at = hangs_up_at

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        while True:
            raw = await next_request(reader)
            request, _ = entity_reader(offsets_request.ListOffsetsRequest)(raw.body, 0)
            self.asked.append(sum(len(topic.partitions) for topic in request.topics))
            if len(self.asked) == self._hangs_up_at:
                return
            answer = offsets_response.ListOffsetsResponse(
                throttle_time=AT_ONCE,
                topics=tuple(
                    offsets_response.ListOffsetsTopicResponse(
                        name=topic.name,
                        partitions=tuple(
                            offsets_response.ListOffsetsPartitionResponse(
                                partition_index=part.partition_index,
                                error_code=ErrorCode.topic_authorization_failed
                                if topic.name in self._refused
                                else ErrorCode.none,
                                timestamp=i64(max(-1, part.timestamp)),
                                offset=i64(end_of(topic.name, part.partition_index)),
                            )
                            for part in topic.partitions
                        ),
                    )
                    for topic in request.topics
                ),
            )
            body = io.BytesIO()
            entity_writer(offsets_response.ListOffsetsResponse)(body, answer)
            writer.write(frame_of(raw.correlation_id, b"\x00" + body.getvalue()))


async def test_a_question_about_very_many_is_put_in_parts(peer: Peer) -> None:
    """In one piece it would hold up the event loop; all parts are under way at once, and the answers are one."""
    leader = Leader()
    connection = await peer.connect(leader.serve)
    told = await control.list_offsets(connection, PARTITIONS, control.LATEST, isolation=Isolation.READ_UNCOMMITTED)
    assert leader.asked == [1000, 1000, 500]
    assert told == {where: control.OffsetResult(0, end_of(*where)) for where in PARTITIONS}


async def test_others_run_between_the_parts(peer: Peer) -> None:
    """Each part is encoded in a turn of the loop of its own."""
    connection = await peer.connect(Leader().serve)
    written: list[int] = []
    turn = 0
    send = connection.send

    def noted(*args: object, **kwargs: object) -> None:
        written.append(turn)
        send(*args, **kwargs)  # type: ignore[arg-type]

    connection.send = noted  # type: ignore[method-assign]
    asking = asyncio.create_task(
        control.list_offsets(connection, PARTITIONS, control.LATEST, isolation=Isolation.READ_UNCOMMITTED)
    )
    while not asking.done():
        turn += 1
        await asyncio.sleep(0)
    assert len(set(written)) == len(written) == 3


async def test_a_part_that_fails_fails_the_question(peer: Peer) -> None:
    """What the others told is given to nobody, and nothing of it goes on."""
    leader = Leader(hangs_up_at=2)
    connection = await peer.connect(leader.serve)
    before = asyncio.all_tasks()
    with pytest.raises(ConnectionFailed):
        await control.list_offsets(connection, PARTITIONS, control.LATEST, isolation=Isolation.READ_UNCOMMITTED)
    await asyncio.sleep(0.05)
    assert {task for task in asyncio.all_tasks() - before if "list_offsets" in repr(task)} == set()


class Nodes:
    """A cluster of as many nodes as it is given connections; each leads the partitions of its number."""

    def __init__(self, *connections: Connection) -> None:
        self._connections = connections

    def leader(self, where: TopicPartition) -> Led | None:
        """Nobody leads what is beyond them."""
        return Led(where.partition, 0) if where.partition < len(self._connections) else None

    async def connection(self, node: int, purpose: Purpose) -> Connection:
        """Return the one connection to a node."""
        assert purpose is Purpose.CONTROL
        return self._connections[node]


async def test_a_time_is_asked_of_each_leader(peer: Peer) -> None:
    """Those that nobody leads, or whose leader refuses, are left out; the others come with the time of the record."""
    leaders = [Leader(refused=("t1",)), Leader()]
    cluster = cast("Cluster", Nodes(*[await peer.connect(each.serve) for each in leaders]))
    told = await questions.offsets_at(
        cluster, [TopicPartition(f"t{at}", part) for at in (1, 2) for part in range(3)], 9
    )
    assert told == {
        TopicPartition("t2", 0): questions.Found(200, 9),
        TopicPartition("t1", 1): questions.Found(101, 9),
        TopicPartition("t2", 1): questions.Found(201, 9),
    }
    assert [each.asked for each in leaders] == [[2], [2]]
