"""One connection against a small server on real loopback sockets."""

from __future__ import annotations

import asyncio
import gc
import struct
import weakref
from collections.abc import AsyncIterator

import pytest
from kio.schema.api_versions.v3.request import ApiVersionsRequest
from kio.schema.api_versions.v3.response import ApiVersionsResponse

from replicator.aio.threads import Threads
from replicator.errors import AnswerTooLarge, ConnectionFailed, KafkaError, ProtocolError
from replicator.model.security import ClusterSpec, Protocol, Security
from replicator.wire.frames import Frame, FramePool
from replicator.wire.room import RoomFrame
from replicator.wire.transport.connection import Connection
from replicator.wire.transport.opening import open_connection
from tests.unit.wire.peer import FETCH, Calls, Peer, echo, frame_of, next_request, send


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A peer, closed afterwards."""
    one = Peer()
    yield one
    await one.close()


async def test_pipelined_requests_are_answered_in_order(peer: Peer) -> None:
    """Each callback gets its own answer, once."""
    connection = await peer.connect(echo)
    calls = Calls(50)
    for index in range(50):
        send(connection, calls, index, b"%d" % index)
    assert connection.in_flight == 50
    await calls.done.wait()

    assert calls.order == list(range(50))
    assert [answers[0][0] for answers in calls.answers] == [b"%d" % index for index in range(50)]
    assert connection.in_flight == 0


async def test_large_requests_and_answers_pass_in_pieces(peer: Peer) -> None:
    """More than any socket buffer holds, both ways at once, from many views."""
    connection = await peer.connect(echo)
    calls = Calls(3)
    views = [bytes([at % 251]) * 4_001 for at in range(2_500)]
    body = b"".join(views)
    for index in range(3):
        connection.send(FETCH, 12, views, len(body), calls.of(index), frame_bytes_max=1 << 26)
    await calls.done.wait()

    assert calls.errors() == [None] * 3
    assert all(answers[0][0] == body for answers in calls.answers)


async def test_an_answer_that_comes_byte_by_byte_is_read(peer: Peer) -> None:
    """Also its length and its head."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            request = await next_request(reader)
            for byte in frame_of(request.correlation_id, b"slow answer"):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

    connection = await peer.connect(drip)
    calls = Calls(2)
    send(connection, calls, 0)
    send(connection, calls, 1)
    await calls.done.wait()

    assert [answers[0][0] for answers in calls.answers] == [b"slow answer"] * 2


async def test_an_answer_is_read_into_the_callers_frame(peer: Peer) -> None:
    """Which grows where it has to."""
    connection = await peer.connect(echo)
    frame = Frame(8)
    calls = Calls(1)
    connection.send(FETCH, 12, [b"x" * 100], 100, calls.of(0), frame=frame)
    await calls.done.wait()

    assert bytes(frame.buffer[4 : frame.size]) == b"x" * 100


@pytest.mark.parametrize("size", [1001, 3, 0, -1, 0x7FFFFFFF, 0x48545450])
async def test_an_answer_of_an_unacceptable_size_closes_before_anything_is_made_of_it(peer: Peer, size: int) -> None:
    """Larger than agreed, too small, negative, or no Kafka at all."""

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next_request(reader)
        writer.write(struct.pack(">i", size) + b"rest")
        await reader.read()

    connection = await peer.connect(lie)
    calls = Calls(2)
    send(connection, calls, 0, bytes_max=1000)
    send(connection, calls, 1, bytes_max=1000)
    await calls.done.wait()

    assert all(isinstance(error, ProtocolError) for error in calls.errors())
    assert f"claims {size} bytes" in str(connection.closed)


@pytest.mark.parametrize("answers", [True, False])
async def test_only_an_answer_is_too_large(peer: Peer, *, answers: bool) -> None:
    """The words of another protocol say nothing of a batch that cannot be read."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await next_request(reader)
        correlation = struct.pack(">i", request.correlation_id) if answers else b"/1.1"
        writer.write(b"HTTP" + correlation + b" 400 Bad Request\r\n\r\n")
        await reader.read()

    connection = await peer.connect(talk)
    calls = Calls(1)
    send(connection, calls, 0, bytes_max=1000)
    await calls.done.wait()

    (error,) = calls.errors()
    assert "claims 1213486160 bytes" in str(error)
    assert (type(error) is AnswerTooLarge) is answers


async def test_an_answer_without_a_request_closes(peer: Peer) -> None:
    """And the next request is told so."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await next_request(reader)
        writer.write(frame_of(request.correlation_id, b"1") + frame_of(9, b"2"))
        await reader.read()

    connection = await peer.connect(talk)
    calls = Calls(2)
    send(connection, calls, 0)
    while connection.closed is None:  # noqa: ASYNC110 - no event tells of a close with nothing waiting
        await asyncio.sleep(0)
    send(connection, calls, 1)
    await calls.done.wait()

    assert isinstance(calls.errors()[1], ProtocolError)
    assert calls.errors()[0] is None


async def test_a_wrong_correlation_id_closes(peer: Peer) -> None:
    """No answer is ever given to another request's callback."""

    async def confuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await next_request(reader)
        writer.write(frame_of(request.correlation_id + 1, b"1"))
        await reader.read()

    connection = await peer.connect(confuse)
    calls = Calls(2)
    send(connection, calls, 0)
    send(connection, calls, 1)
    await calls.done.wait()

    assert all(isinstance(error, ProtocolError) for error in calls.errors())


async def test_silence_closes_after_the_request_timeout(peer: Peer) -> None:
    """Whatever was sent is lost, and says how long it waited."""

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    connection = await peer.connect(listen, seconds=0.05)
    calls = Calls(2)
    send(connection, calls, 0)
    send(connection, calls, 1)
    await calls.done.wait()

    assert all(isinstance(error, ConnectionFailed) and error.retryable for error in calls.errors())
    assert "within 0.05 s" in str(connection.closed)


@pytest.mark.parametrize("cut", [0, 2, 4, 6, 10], ids=lambda cut: f"after {cut} bytes")
async def test_a_peer_that_closes_loses_every_waiting_request(peer: Peer, cut: int) -> None:
    """Before, inside and after the head of an answer."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await next_request(reader)
        writer.write(frame_of(request.correlation_id, b"never whole")[:cut])
        await writer.drain()

    connection = await peer.connect(hang_up)
    calls = Calls(3)
    for index in range(3):
        send(connection, calls, index)
    await calls.done.wait()

    assert all(isinstance(error, ConnectionFailed) for error in calls.errors())
    assert calls.order == [0, 1, 2]


async def test_closing_tells_every_caller_once_and_may_be_repeated(peer: Peer) -> None:
    """Those before, and those who ask after; also one that asks again from its callback."""
    connection = await peer.connect(echo)
    calls = Calls(3)
    send(connection, calls, 0)

    def ask_again(frame: Frame | None, error: KafkaError | None) -> None:
        calls.of(1)(frame, error)
        send(connection, calls, 2)

    connection.send(FETCH, 12, [b""], 0, ask_again)
    connection.close()
    connection.close()
    await calls.done.wait()

    assert all(isinstance(error, ConnectionFailed) for error in calls.errors())
    assert calls.order == [0, 1, 2]


async def test_whoever_waits_for_the_end_hears_of_it(peer: Peer) -> None:
    """Once; also of one that has been closed before: a broker may end a connection just after the login."""
    connection = await peer.connect(echo)
    told: list[str] = []
    connection.when_closed(lambda: told.append("before"))
    assert told == []
    connection.close()
    assert told == ["before"]
    connection.when_closed(lambda: told.append("after"))
    assert told == ["before", "after"]


async def ends_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End every connection at its first bytes, as a listener does that expects others."""
    await reader.read(1)
    writer.transport.abort()


@pytest.mark.parametrize("protocol", [Protocol.PLAINTEXT, Protocol.SSL])
async def test_a_listener_that_ends_connections_at_once_is_told_with_what_to_check(protocol: Protocol) -> None:
    """The same port with another protocol is the usual reason; it may also just be stopping, so it is tried again."""
    server = await asyncio.start_server(ends_at_once, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cluster = ClusterSpec("east", (("127.0.0.1", port),), security=Security(protocol))
    with pytest.raises(ConnectionFailed) as caught:
        await open_connection(cluster, Threads("east"), "127.0.0.1", port, node="broker 1")
    server.close()
    assert "check that th" in caught.value.next_step
    assert f"speaks {protocol} (clusters.east.security.protocol)" in caught.value.next_step
    assert caught.value.retryable


async def test_answers_and_faults_are_noted_where_they_belong(peer: Peer) -> None:
    """An answer by its time; a fault with its words; our own end of it is none."""
    connection = await peer.connect(echo)
    calls = Calls(1)
    send(connection, calls, 0, b"x")
    await calls.done.wait()
    seen = connection.seen
    assert seen.answered_at is not None
    connection.close()
    assert seen.failed_at is None
    lost = await peer.connect(ends_at_once)
    calls = Calls(1)
    send(lost, calls, 0, b"x")
    await calls.done.wait()
    assert (lost.seen.answered_at, lost.seen.failed_at is None) == (None, False)
    assert "broker 1 of cluster 'east' was lost" in lost.seen.why


async def test_a_large_answer_waits_until_its_pool_has_room(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than the request's time-out: it is not the broker who is late. What comes behind it waits as well."""
    monkeypatch.setattr("replicator.wire.transport.connection._DEADLINE_CHECK_SECONDS", 0.01)
    connection = await peer.connect(echo, seconds=0.2)
    pool = FramePool(3, 1000)
    held, large = pool.take(), pool.take()
    assert held is not None
    assert large is not None
    assert held.reserve(2900)
    calls = Calls(2)
    body = bytes(range(256)) * 1000
    connection.send(FETCH, 12, [body], len(body), calls.of(0), frame=large, frame_bytes_max=1 << 20)
    send(connection, calls, 1, b"behind it")
    await asyncio.sleep(0.5)
    assert connection.closed is None
    assert calls.answers == [[], []]
    held.release()
    await calls.done.wait()
    assert calls.errors() == [None, None]
    assert [answers[0][0] for answers in calls.answers] == [body, b"behind it"]


async def test_a_connection_that_is_closed_while_an_answer_waits_for_room(peer: Peer) -> None:
    """Its caller has the error, and the frame, which then holds up no other."""
    connection = await peer.connect(echo)
    pool = FramePool(3, 100)
    held, large = pool.take(), pool.take()
    assert held is not None
    assert large is not None
    assert held.reserve(290)
    calls = Calls(1)
    connection.send(FETCH, 12, [b"x" * 1000], 1000, calls.of(0), frame=large, frame_bytes_max=1 << 20)
    while pool.take() is not None:  # noqa: ASYNC110 - a pool has no event
        await asyncio.sleep(0.01)
    connection.close()
    assert calls.errors() != [None]
    large.release()
    held.release()
    assert pool.take() is not None
    await asyncio.sleep(0)


async def test_what_is_cut_off_is_not_kept(peer: Peer) -> None:
    """It may be large, and room for it is given back once nothing refers to it."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await next_request(reader)
        writer.write(frame_of(request.correlation_id, b"never whole" * 200_000)[:5000])
        await writer.drain()

    connection = await peer.connect(half)
    taken, given_back = [], asyncio.Event()

    class Room:
        def take(self, size: int) -> bool:
            taken.append(size)
            return True

        def give_back(self, size: int) -> None:
            taken.remove(size)
            given_back.set()

    calls = Calls(1)
    frame = RoomFrame(Room(), 0)
    connection.send(FETCH, 12, [b""], 0, calls.of(0), frame=frame, frame_bytes_max=4 << 20)
    del frame
    await calls.done.wait()
    assert calls.errors() != [None]
    await asyncio.wait_for(given_back.wait(), 10)
    assert (taken, connection.closed is not None) == ([], True)


async def _asks(connection: Connection) -> None:
    await connection.call(
        ApiVersionsRequest(client_software_name="a", client_software_version="1"), ApiVersionsResponse
    )


async def test_a_lost_connection_is_gone_once_nobody_holds_it(peer: Peer) -> None:
    """Its error was raised by everybody who waited, and held their frames, which held it: 40 kB for the collector."""

    async def ends(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1)

    connection = await peer.connect(ends)
    lost = weakref.ref(connection)
    gc.collect()
    gc.disable()
    try:
        told = await asyncio.gather(*(_asks(connection) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in told] == [ConnectionFailed] * 3
        with pytest.raises(ConnectionFailed):
            await _asks(connection)
        peer._connections.clear()
        del connection, told
        await asyncio.sleep(0)
        assert lost() is None
    finally:
        gc.enable()
