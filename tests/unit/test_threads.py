"""Threads for what blocks: used again, and ended when there is nothing to do."""

from __future__ import annotations

import asyncio
import threading

import pytest

from replicator.aio import threads
from replicator.aio.threads import Threads


def named(name: str) -> list[threading.Thread]:
    """Return the threads of that name that run."""
    return [one for one in threading.enumerate() if one.name == name]


async def until_none(name: str) -> None:
    """Wait until no thread of that name runs."""
    async with asyncio.timeout(20):
        while named(name):  # noqa: ASYNC110 - threads tell nobody
            await asyncio.sleep(0.01)


async def test_a_thread_is_used_again() -> None:
    """To start one holds the event loop until it runs, and leases are looked at ten times a second."""
    few = Threads("used-again")
    assert len({await few.run(threading.get_ident) for _ in range(20)}) == 1
    assert len(named("used-again")) == 1


async def test_one_that_has_nothing_to_do_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters come and go with the flow file, and what comes later has a thread all the same."""
    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.01)
    few = Threads("idle")
    for _ in range(3):
        assert await few.run(lambda: 1) == 1
        await until_none("idle")


async def test_work_that_comes_while_a_thread_is_about_to_end_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks to end, and is given something to do before that is heard."""
    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.0)
    few = Threads("in-between", 2)
    for _ in range(300):
        assert set(await asyncio.gather(*(few.run(int, at) for at in range(3)))) == {0, 1, 2}


def test_a_thread_ends_after_its_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left to whom it could tell anything."""
    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.01)
    go_on = threading.Event()

    async def give_up() -> None:
        few = Threads("left-behind")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await few.run(go_on.wait)

    asyncio.run(give_up())
    (left,) = named("left-behind")
    go_on.set()
    left.join(20)
    assert not left.is_alive()
