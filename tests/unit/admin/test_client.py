"""Calls of librdkafka to a cluster that hangs hold up nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from replicator.admin import client
from replicator.admin.topics import TopicAdmin
from replicator.aio.threads import threads_of
from replicator.errors import ConnectionFailed, KafkaError
from replicator.model.security import ClusterSpec

_CALLS = 16
"""More than the event loop's own pool has threads on a small machine."""


@pytest.fixture
def frozen() -> Iterator[ClusterSpec]:
    """A cluster that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield ClusterSpec("frozen", (("127.0.0.1", listener.getsockname()[1]),), request_timeout_seconds=3.0)


async def test_a_hung_cluster_holds_up_neither_logins_nor_other_clusters_nor_this_machine(frozen: ClusterSpec) -> None:
    """All of them shared six threads: a few flows with a dead source made logins to healthy brokers time out."""
    admin = TopicAdmin(frozen)
    calls = [asyncio.create_task(admin.describe_configs(["t"])) for _ in range(_CALLS)]
    await asyncio.sleep(0.2)
    began = time.monotonic()
    assert await threads_of("login healthy").run(lambda: 1) == 1
    assert await threads_of("admin healthy").run(lambda: 2) == 2
    assert await asyncio.to_thread(lambda: 3) == 3
    assert time.monotonic() - began < 2.0
    assert not any(call.done() for call in calls)

    for call in calls:
        call.cancel()
    began = time.monotonic()
    await admin.close()
    assert time.monotonic() - began < 3.5
    with contextlib.suppress(asyncio.CancelledError, KafkaError):
        await asyncio.gather(*calls)


@pytest.mark.parametrize("kept_seconds", [0.0, 60.0])
async def test_a_client_that_reaches_nobody_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, frozen: ClusterSpec, kept_seconds: float
) -> None:
    """Where it was told wrong addresses it looked for new ones after five minutes only; but not for each call."""
    monkeypatch.setattr(client, "_KEPT_SECONDS", kept_seconds)
    admin = TopicAdmin(replace(frozen, request_timeout_seconds=0.3))
    with pytest.raises(ConnectionFailed):
        await admin.describe_configs(["t"])
    assert (admin._connection._client is None) is (kept_seconds == 0.0)
    await admin.close()


async def test_threads_of_one_cluster_are_few_and_what_nobody_waits_for_is_dropped() -> None:
    """A hung cluster must not leave a thread behind for each call that was given up."""
    at_once, most, done = 0, 0, 0
    ends = time.monotonic() + 1.0

    def work() -> None:
        nonlocal at_once, most, done
        at_once += 1
        most = max(most, at_once)
        time.sleep(max(0.0, ends - time.monotonic()))
        at_once -= 1
        done += 1

    calls = [asyncio.create_task(threads_of("few").run(work)) for _ in range(_CALLS)]
    await asyncio.sleep(0.2)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(20):
        while done < most or at_once:  # noqa: ASYNC110 - threads tell nobody
            await asyncio.sleep(0.01)
    await threads_of("few").run(lambda: None)
    assert most == done
    assert done <= 4
