"""What runs while a daemon works on a shard has ended before anything of the shard is given back."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.engine.work.shards import Shard, Shards
from replicator.errors import BugError, DamagedRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class World:
    """One shard; notes in which order things happen."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self.noted: list[str] = []
        presence = SimpleNamespace(
            announce=self._noting("sign of life"),
            withdraw=self._noting("sign of life taken back"),
            fall_silent=lambda _: None,
            newest_epoch=lambda _: 0,
            signs=lambda _: (),
        )
        claim = SimpleNamespace(
            want=lambda _: None, give_back=self._noting("claim given back"), holder=None, seen_number=0
        )
        self.shard = Shard(0, cast("Any", claim))
        self.shards = Shards(
            "f",
            "me",
            [self.shard],
            cast("Any", presence),
            stops_on_loss=False,
            catch_up=cast("Any", self._noting("caught up")),
            drain=cast("Any", self._noting("drained")),
            on_change=lambda: None,
            during=lambda shard: (work,) if shard.number == 0 else (),
        )

    def _noting(self, what: str) -> Callable[..., Awaitable[bool]]:
        async def note(*_: object, **__: object) -> bool:
            await asyncio.sleep(0)
            self.noted.append(what)
            return True

        return note


async def test_work_begins_with_the_shard_and_ends_before_it_is_given_back() -> None:
    """Also where it takes a moment to end: what it does then is still done under the claim."""

    async def work() -> None:
        world.noted.append("works")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            world.noted.append("ended")

    world = World(work)
    await world.shards._begin(world.shard, 1)
    await asyncio.sleep(0)
    assert world.noted == ["sign of life", "caught up", "works"]
    assert await world.shards.stop(world.shard)
    assert world.noted[3:] == ["ended", "drained", "claim given back", "sign of life taken back"]


async def test_work_that_does_not_end_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim is given back all the same, after a bounded time."""
    monkeypatch.setattr("replicator.engine.work.scope._END_SECONDS", 0.05)
    let_go = asyncio.Event()

    async def work() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    world = World(work)
    await world.shards._begin(world.shard, 1)
    await asyncio.sleep(0)
    assert await world.shards.stop(world.shard)
    assert "claim given back" in world.noted
    let_go.set()


async def test_work_ends_with_a_flow_that_ends_by_itself() -> None:
    """Nothing is given back then, and nothing may go on beside the flow that is begun again."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    world = World(work)
    leases = SimpleNamespace(
        is_lost=lambda: False, epoch=lambda _: 1, is_taken_away=lambda _: False, is_expired=lambda _: False
    )
    running = asyncio.get_running_loop().create_task(world.shards.run(cast("Any", leases)))
    async with asyncio.timeout(5):
        while not world.shard.works:  # noqa: ASYNC110 - what is waited for is the state of real objects, no event
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.005)
        running.cancel()
        await ended.wait()


async def _cancelled_from_within() -> None:
    raise asyncio.CancelledError


async def _met_a_bug() -> None:
    raise ValueError("a bug")


async def _read_a_damaged_record() -> None:
    raise DamagedRecord("a record cannot be read", cluster="west")


@pytest.mark.parametrize(
    ("work", "raised"),
    [(_met_a_bug, ValueError), (_read_a_damaged_record, DamagedRecord), (_cancelled_from_within, BugError)],
)
async def test_an_error_of_the_work_ends_the_flow(work: Callable[[], Awaitable[None]], raised: type[Exception]) -> None:
    """Only logged, it would leave the shard worked without that part of the work, for as long as it is worked."""
    world = World(work)
    leases = SimpleNamespace(
        is_lost=lambda: False, epoch=lambda _: 1, is_taken_away=lambda _: False, is_expired=lambda _: False
    )
    with pytest.raises(raised):
        async with asyncio.timeout(5):
            await world.shards.run(cast("Any", leases))
