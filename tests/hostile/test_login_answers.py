"""What a broker says of a login, and connections that are lost at once."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import struct
import time
from dataclasses import replace

import pytest
from kio.schema.errors import ErrorCode
from kio.static.primitive import i64Timedelta

from replicator.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    KafkaError,
    ProtocolError,
)
from replicator.model.security import Mechanism
from replicator.wire.cluster import Cluster, Purpose
from tests.hostile.broker import (
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    TOPIC,
    Asked,
    HostileBroker,
    framed,
    head,
    sasl,
)
from tests.hostile.lies import failure, only

pytestmark = pytest.mark.usefixtures("bounded")


async def test_what_a_broker_says_of_a_login_is_kept_short() -> None:
    """And holds nothing that a terminal obeys."""
    async with HostileBroker() as broker:
        broker.login = replace(
            broker.login,
            error_code=ErrorCode.sasl_authentication_failed,
            error_message="\x1b[2Jno\r\n" * 50_000,
        )
        error = await failure(broker, sasl())

    assert isinstance(error, AuthenticationFailed)
    assert error.why.startswith(r"\x1b[2Jno")


async def test_an_answer_to_a_login_is_small() -> None:
    """50 MB of words are not even read."""
    async with HostileBroker(
        only(SASL_AUTHENTICATE, lambda *_: struct.pack(">i", 50_000_000) + bytes(1_000_000))
    ) as broker:
        error = await failure(broker, sasl())

    assert isinstance(error, ProtocolError)
    assert "to SaslAuthenticate claims 50000000 bytes; between 4 and 1048576" in error.why


async def test_a_login_does_not_compute_for_minutes() -> None:
    """The number of rounds is the broker's word."""

    def first(asked: Asked, answer: bytes) -> bytes:
        if asked.key != SASL_AUTHENTICATE:
            return framed(answer)
        said = b"r=0,s=AAAAAAAAAAAAAAAAAAAA,i=9999999"
        return framed(head(asked) + struct.pack(">h", 0) + b"\x00" + bytes([len(said) + 1]) + said + bytes(9))

    async with HostileBroker(first) as broker:
        error = await failure(broker, sasl(mechanism=Mechanism.SCRAM_SHA_256))

    assert "the broker asks for 9999999 rounds" in error.why


@pytest.fixture
def longest_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw every pause of a `Backoff` at its upper bound: how many tries fit into some time is then no chance."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


async def opened_for_a_while(cluster: Cluster) -> list[KafkaError]:
    """Ask for a connection without a pause, for 1.5 s; return why there was none."""
    refused: list[KafkaError] = []
    ends = time.monotonic() + 1.5
    while time.monotonic() < ends:
        try:
            await cluster.connection(1, Purpose.FETCH)
        except KafkaError as error:
            refused.append(error)
        await asyncio.sleep(0.001)
    cluster.close()
    return refused


@pytest.mark.usefixtures("longest_pauses")
async def test_a_login_that_ends_at_once_is_not_made_over_and_over() -> None:
    """Each one may run a program."""
    async with HostileBroker() as broker:
        broker.login = replace(broker.login, session_lifetime=i64Timedelta.parse(dt.timedelta(milliseconds=1)))
        error = await failure(broker, sasl())
        broker.asked.clear()
        cluster = Cluster(broker.spec(sasl()))
        cluster.brokers = {1: ("127.0.0.1", broker.port)}
        refused = await opened_for_a_while(cluster)

    assert "is valid for only 0.001 s" in error.what
    assert error.retryable
    assert 1 <= broker.asked[SASL_HANDSHAKE] <= 8  # 5 as a rule; pauses are drawn at random
    assert {type(one) for one in refused} == {AuthenticationFailed}


@pytest.mark.usefixtures("longest_pauses")
async def test_connections_that_are_lost_at_once_are_opened_ever_more_slowly() -> None:
    """The broker is there, and logs in whoever comes."""
    async with HostileBroker() as broker:
        cluster = Cluster(broker.spec())
        await cluster.refresh([TOPIC])
        broker.connections = 0

        async def lose() -> None:
            while True:
                broker.hang_up()
                await asyncio.sleep(0.01)

        losing = asyncio.create_task(lose())
        refused = await opened_for_a_while(cluster)
        losing.cancel()

    # On a slow machine some are lost before they are logged in.
    assert {type(one) for one in refused} <= {ConnectionFailed}
    assert 2 <= broker.connections <= 8
