"""How late the event loop is, and that a late one tells where it stands."""

from __future__ import annotations

import asyncio
import contextlib
import linecache
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from replicator.obs import loop_watch
from replicator.obs.loop_watch import LoopWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Watched:
    """A watch, and what it told."""

    def __init__(self) -> None:
        self.watch = LoopWatch()
        self.told: list[tuple[str, dict[str, Any]]] = []

    def note(self, event: str, **fields: Any) -> None:
        """Take a line."""
        self.told.append((event, fields))


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """A watch at work that is told sooner than in earnest."""
    made = Watched()
    monkeypatch.setattr(loop_watch, "log", SimpleNamespace(warning=made.note))
    monkeypatch.setattr(loop_watch, "_BEAT_SECONDS", 0.05)
    task = asyncio.create_task(made.watch.run())
    await asyncio.sleep(0.2)
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert made.watch.lag_seconds() is None


def hold_up_the_loop(seconds: float) -> None:
    """Do what must not be done there."""
    time.sleep(seconds)


async def test_a_loop_that_is_held_up_tells_by_what_while_it_is(watched: Watched) -> None:
    """With the stack of its thread; and at most once a minute."""
    assert (watched.watch.lag_seconds() or 0.0) < 1.0
    sources = set(linecache.cache)
    hold_up_the_loop(1.5)
    await asyncio.sleep(0.2)
    assert 1.0 < (watched.watch.lag_seconds() or 0.0) < 5.0
    hold_up_the_loop(1.5)
    await asyncio.sleep(0.2)
    (event, fields), *more = watched.told
    assert event == "the event loop is held up"
    assert f'test_loop_watch.py", line {hold_up_the_loop.__code__.co_firstlineno + 2}, in hold' in fields["stack"]
    assert fields["stack"].endswith("in hold_up_the_loop\n")
    assert set(linecache.cache) == sources, "every file of the stack was kept, with all its lines"
    assert 1.0 <= fields["seconds"] < 5.0
    assert [each for each, _ in more if each == event] == []


async def test_what_nobody_could_look_at_is_told_without_a_stack(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds the interpreter keeps the watching thread from its turn as well."""
    monkeypatch.setattr(watched.watch._ended, "wait", lambda _: True)  # the thread ends
    await asyncio.sleep(0.2)
    hold_up_the_loop(1.2)
    await asyncio.sleep(0.1)
    assert [event for event, _ in watched.told] == ["the event loop was held up"]


async def test_the_worst_is_shown_for_a_window_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long enough for a scrape, short enough to be of now."""
    monkeypatch.setattr(loop_watch, "_WINDOW_SECONDS", 10.0)
    monkeypatch.setattr(loop_watch, "log", SimpleNamespace(warning=lambda *_, **__: None))
    watch, began = LoopWatch(), time.monotonic()
    watch._running = True
    watch._note(began + 1, 2.0)
    assert watch.lag_seconds() == 2.0
    watch._note(began + 11, 0.0)
    assert watch.lag_seconds() == 2.0
    watch._note(began + 22, 0.0)
    assert watch.lag_seconds() == 0.0


async def test_tasks_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of the last window; unknown while nobody watches."""
    monkeypatch.setattr(loop_watch, "_WINDOW_SECONDS", 0.0)
    assert loop_watch.task_count() is None
    watching = asyncio.create_task(LoopWatch().run())
    others = [asyncio.create_task(asyncio.sleep(60)) for _ in range(50)]
    try:
        await asyncio.sleep(0.6)  # two beats
        assert (loop_watch.task_count() or 0) > len(others)
    finally:
        for task in (watching, *others):
            task.cancel()
        await asyncio.gather(watching, *others, return_exceptions=True)
    assert loop_watch.task_count() is None
