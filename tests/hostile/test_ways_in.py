"""Ways to a cluster that lead nowhere: addresses that swallow, entries that are no Kafka, logins that hang."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from kio.static.primitive import i64Timedelta

from replicator import logins
from replicator.aio.threads import THREADS_MAX, Threads
from replicator.engine.logs.leaders import LeaderWatch
from replicator.engine.logs.link import Link
from replicator.errors import AuthenticationFailed, ConnectionFailed, KafkaError
from replicator.logins import forget_refusals
from replicator.model.security import Mechanism, Protocol, Secret, Security
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.transport import opening
from replicator.wire.transport.connection import Connection
from tests.certs import Authority, KeyPair
from tests.hostile.broker import (
    API_VERSIONS,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    TOPIC,
    Asked,
    HostileBroker,
    framed,
    head,
    sasl,
)


@pytest.fixture
def swallowing() -> Iterator[tuple[str, int]]:
    """Return an address that answers no connection: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(address)
        yield address


async def test_the_next_address_of_a_name_is_tried(
    monkeypatch: pytest.MonkeyPatch, swallowing: tuple[str, int]
) -> None:
    """While the first says nothing."""
    async with HostileBroker() as broker:
        real = socket.getaddrinfo

        def two(host: str, port: int, **how: Any) -> Any:
            if host != "west.example":
                return real(host, port, **how)
            if how.get("flags"):
                raise socket.gaierror(socket.EAI_NONAME, "a name")
            return [*real(*swallowing, **how), *real("127.0.0.1", broker.port, **how)]

        monkeypatch.setattr(socket, "getaddrinfo", two)
        cluster = Cluster(replace(broker.spec(), bootstrap=(("west.example", broker.port),)))
        began = time.monotonic()
        await cluster.refresh([TOPIC])
        cluster.close()

    assert time.monotonic() - began < 3.0


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "x" * 300, "no.such.host.invalid"])
async def test_a_name_that_cannot_be_is_out_of_reach(host: str) -> None:
    """Brokers advertise what they like."""
    cluster = Cluster(replace(HostileBroker().spec(timeout_seconds=3.0), bootstrap=((host, 9092),)))
    with pytest.raises(ConnectionFailed) as caught:
        await cluster.refresh([])
    cluster.close()

    assert caught.value.next_step


async def test_an_entry_that_is_no_kafka_is_passed_over() -> None:
    """And another one that is not there."""
    async with HostileBroker(lambda *_: b"220 mail.example ESMTP\r\n") as mail, HostileBroker() as broker:
        spec = broker.spec()
        cluster = Cluster(replace(spec, bootstrap=(("127.0.0.1", 1), ("127.0.0.1", mail.port), *spec.bootstrap)))
        await cluster.refresh([TOPIC])
        cluster.close()

    assert TOPIC in cluster.topics


async def test_the_reason_of_each_entry_is_told() -> None:
    """Where none is of use."""
    async with HostileBroker(lambda *_: b"220 mail.example ESMTP\r\n") as mail:
        spec = replace(mail.spec(), bootstrap=(("127.0.0.1", 1), ("127.0.0.1", mail.port)))
        cluster = Cluster(spec)
        with pytest.raises(ConnectionFailed) as caught:
            await cluster.refresh([])
        cluster.close()

    error = caught.value
    assert error.what == "cluster 'west' cannot be used through any of its 2 bootstrap addresses"
    assert error.why.startswith("127.0.0.1:1: Connection refused; ")
    assert f"127.0.0.1:{mail.port}: an answer to ApiVersions claims" in error.why
    assert error.next_step


def serving(pair: KeyPair) -> ssl.SSLContext:
    """Return what a TLS listener needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert_file, pair.key_file)
    return context


async def test_an_entry_whose_certificate_has_expired_is_passed_over(tmp_path: Path) -> None:
    """The others are as good as ever; alone it is told by its reason."""
    authority = Authority(tmp_path)
    old = serving(authority.issue("old", lifetime=dt.timedelta(days=-1)))
    new = serving(authority.issue("new"))
    security = Security(protocol=Protocol.SSL, ca_file=authority.ca_file)
    async with HostileBroker(tls=old) as expired, HostileBroker(tls=new) as broker:
        specs = [one.spec(security) for one in (expired, broker)]
        cluster = Cluster(replace(specs[0], bootstrap=specs[0].bootstrap + specs[1].bootstrap))
        await cluster.refresh([TOPIC])
        cluster.close()
        cluster = Cluster(specs[0])
        with pytest.raises(AuthenticationFailed) as caught:
            await cluster.refresh([TOPIC])
        cluster.close()

    assert caught.value.why == "certificate has expired"


async def test_logins_that_hang_keep_nobody_else_from_logging_in() -> None:
    """Their cluster has few threads, and nothing is waited for on those that everybody shares."""
    hanging = ("sleep", "5")
    async with HostileBroker() as dead, HostileBroker() as healthy:
        token = {"mechanism": Mechanism.OAUTHBEARER, "username": None, "password": None}
        clusters = [Cluster(dead.spec(sasl(token_command=hanging, **token), 3.0)) for _ in range(4)]
        trying = [asyncio.create_task(_reached(cluster)) for cluster in clusters for _ in range(6)]
        await asyncio.sleep(0.3)
        began = time.monotonic()
        cluster = Cluster(healthy.spec(sasl(token_command=(sys.executable, "-c", "print('t')"), **token)))
        await cluster.refresh([TOPIC])
        took = time.monotonic() - began
        for each in (*clusters, cluster):
            each.close()
        assert set(await asyncio.gather(*trying)) <= {ConnectionFailed, AuthenticationFailed}

    assert took < 4.0


async def _reached(cluster: Cluster) -> type[Exception] | None:
    try:
        await cluster.refresh([])
    except KafkaError as error:
        return type(error)
    return None


async def test_the_threads_of_a_cluster_are_few() -> None:
    """Whoever gives up waiting does not make room before the work is over."""
    threads = Threads("west")
    running = 0
    most = 0

    def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.05)
        running -= 1

    given_up = [asyncio.create_task(threads.run(work)) for _ in range(20)]
    await asyncio.sleep(0.01)
    for task in given_up[:10]:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)

    assert most <= THREADS_MAX
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)


# -- closed is closed -------------------------------------------------------------------------------------------------


async def test_nothing_that_is_closed_opens_a_connection() -> None:
    """A reader, a writer, a watch over leaders, a cluster; nor does one that was being opened stay."""
    async with HostileBroker() as broker:
        cluster = Cluster(broker.spec())
        await cluster.refresh([TOPIC])
        link = Link(lambda: cluster.connection(1, Purpose.FETCH), *[lambda *_: None] * 4)
        link.close()
        assert link.get() is None
        assert link._opening is None
        watch = LeaderWatch(cluster, lambda: {TOPIC}, lambda: None)
        watch.stale()
        watch.close()
        watch.stale()
        assert watch._task is not None
        with contextlib.suppress(asyncio.CancelledError):
            await watch._task
        opening_one = asyncio.create_task(cluster.connection(1, Purpose.PRODUCE))
        await asyncio.sleep(0)
        cluster.close()
        with pytest.raises(ConnectionFailed, match="no longer in use"):
            await opening_one
        broker.connections = 0
        for asked in (cluster.refresh([TOPIC]), cluster.connection(1, Purpose.FETCH)):
            with pytest.raises(ConnectionFailed, match="no longer in use"):
                await asked

    assert broker.connections == 0
    assert cluster._connections.there() == {}


@pytest.fixture
async def logged_in(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[HostileBroker, Connection]]:
    """A connection whose login has to be renewed every 0.2 s."""
    monkeypatch.setattr(opening, "LOGIN_SECONDS_MIN", 0.1)
    async with HostileBroker() as broker:
        broker.login = replace(broker.login, session_lifetime=i64Timedelta.parse(dt.timedelta(milliseconds=250)))
        cluster = Cluster(broker.spec(sasl()))
        await cluster.refresh([TOPIC])
        yield broker, await cluster.connection(1, Purpose.CONTROL)
        cluster.close()


async def test_a_login_is_renewed(logged_in: tuple[HostileBroker, Connection]) -> None:
    """As long as the connection is open, and not after."""
    broker, connection = logged_in
    before = broker.asked[SASL_AUTHENTICATE]
    await asyncio.sleep(0.7)
    assert connection.closed is None
    assert not connection.holds_back
    assert broker.asked[SASL_AUTHENTICATE] >= before + 2
    connection.close()
    seen = broker.asked[SASL_HANDSHAKE]
    await asyncio.sleep(0.5)
    assert broker.asked[SASL_HANDSHAKE] <= seen + 4  # the other connection renews its own


@pytest.mark.parametrize("bug", [ValueError("odd"), KafkaError("no", cluster="west"), TimeoutError()])
async def test_a_login_that_cannot_be_renewed_ends_its_connection(
    monkeypatch: pytest.MonkeyPatch, logged_in: tuple[HostileBroker, Connection], bug: Exception
) -> None:
    """Whatever the reason: what is held back meanwhile is told."""
    _, connection = logged_in

    async def fail(*_: object) -> None:
        await asyncio.sleep(0.05)
        raise bug

    monkeypatch.setattr(opening, "authenticate", fail)
    async with asyncio.timeout(5.0):
        while not connection.holds_back:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.005)
    held = connection.ask(API_VERSIONS, 3, [b""], 0)
    with pytest.raises(KafkaError):
        await asyncio.wait_for(held, 5.0)

    assert connection.closed is not None


@pytest.mark.parametrize("milliseconds", [0, -1, -(2**63), 10**17, 2**63 - 1])
async def test_a_login_that_holds_for_ever_is_not_renewed(milliseconds: int) -> None:
    """No lifetime, less than none, and more than any clock counts."""
    answer = struct.pack(">h", 0) + b"\x00\x01" + struct.pack(">q", milliseconds) + b"\x00"

    def first(asked: Asked, honestly: bytes) -> bytes:
        return framed(head(asked) + answer if asked.key == SASL_AUTHENTICATE else honestly)

    async with HostileBroker(first) as broker:
        cluster = Cluster(broker.spec(sasl()))
        await cluster.refresh([TOPIC])
        await asyncio.sleep(0.1)
        await cluster.refresh([TOPIC])
        cluster.close()

    assert broker.asked[SASL_AUTHENTICATE] == 1


async def test_a_renewal_that_is_refused_once_costs_one_connection(
    monkeypatch: pytest.MonkeyPatch, logged_in: tuple[HostileBroker, Connection]
) -> None:
    """The next one is logged in to, after the pause that keeps accounts from being locked."""
    monkeypatch.setattr(logins, "PAUSE_SECONDS", 0.2)
    broker, connection = logged_in
    good = broker.login
    broker.login = replace(good, error_code=ErrorCode.sasl_authentication_failed, error_message="not now")
    async with asyncio.timeout(5.0):
        while connection.closed is None:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.005)
    broker.login = good
    assert isinstance(connection.closed, AuthenticationFailed)
    assert "not now" in str(connection.closed)
    cluster = Cluster(connection.cluster)
    async with asyncio.timeout(40.0):  # the pauses are drawn, and several long ones may follow each other
        while cluster.cluster_id is None:
            with contextlib.suppress(KafkaError):
                await cluster.refresh([TOPIC])
            await asyncio.sleep(0.05)
    cluster.close()


async def test_a_refused_login_names_the_broker() -> None:
    """A password that is wrong is no reason to look on for long, and is told as it is."""
    async with HostileBroker() as broker:
        broker.login = replace(broker.login, error_code=ErrorCode.sasl_authentication_failed, error_message="no")
        cluster = Cluster(broker.spec(sasl()))
        with pytest.raises(AuthenticationFailed, match="cannot be logged in to as 'repl'"):
            await cluster.refresh([])
        cluster.close()


async def test_a_refused_login_is_tried_once_by_all_flows() -> None:
    """Each connection of each flow tried it, and again within a second: that locks the account of a directory."""
    async with HostileBroker() as broker:
        good = broker.login
        broker.login = replace(good, error_code=ErrorCode.sasl_authentication_failed, error_message="no")
        clusters = [Cluster(broker.spec(sasl(password=Secret("this one is wrong")))) for _ in range(5)]
        failed = await asyncio.gather(*(cluster.open() for cluster in clusters), return_exceptions=True)
        assert {type(error) for error in failed} == {AuthenticationFailed}
        assert broker.asked[SASL_AUTHENTICATE] == 1
        with pytest.raises(AuthenticationFailed, match="so that no account gets locked"):
            await clusters[0].open()
        assert broker.asked[SASL_AUTHENTICATE] == 1
        broker.login = good
        forget_refusals()
        await clusters[0].open()
        assert broker.asked[SASL_AUTHENTICATE] == 2
        for cluster in clusters:
            cluster.close()
