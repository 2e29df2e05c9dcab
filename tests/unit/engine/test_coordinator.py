"""A coordinator takes no caller's word for whose leases it may ask for, nor for what it cannot have."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from replicator.engine.work import coordinator
from replicator.engine.work.coordinator import Coordinator
from replicator.errors import Conflict, UsageError
from replicator.model.lease import LeaseCaller
from replicator.store.memory_leases import MemoryLeases
from replicator.store.sqlite_leases import SqliteLeases

EAST = LeaseCaller("0e1f", "east", "e-1", "e-1:7443", 2, source_cluster_id="S", target_cluster_id="T")
WEST = LeaseCaller("33aa", "west", "w-1", "w-1:7443", 2)


def over(store: MemoryLeases | SqliteLeases) -> Coordinator:
    """Return a coordinator over a store."""
    return Coordinator(store, 10.0, lambda: 0.0)


async def test_leases_of_another_flow_are_not_asked_for(tmp_path: Path) -> None:
    """Whatever `flow` says: the uid belongs to the flow that told it first, also after a restart."""
    file = SqliteLeases(tmp_path)
    await over(file).acquire(EAST)
    thief = replace(EAST, flow="west", instance="thief", held={0: 99, 1: 99})
    for one in (over(file), over(file)):
        for ask in (one.renew(thief), one.acquire(thief), one.hand_off(thief), one.release(thief, leaves=True)):
            with pytest.raises(Conflict, match="not the uid of flow 'west'"):
                await ask
    [table] = await over(file).tables()
    assert (table.flow, {lease.holder for lease in table.leases}) == ("east", {"e-1"})
    await file.close()


async def test_leases_that_an_older_version_kept_are_their_flows() -> None:
    """They name the flow; nobody else is bound to their uid."""
    store = MemoryLeases()
    await over(store).acquire(EAST)
    del store.values["flows/0e1f"]
    with pytest.raises(Conflict, match="not the uid of flow 'west'"):
        await over(store).renew(replace(EAST, flow="west"))
    await over(store).renew(EAST)


async def test_two_flows_with_one_uid_do_not_share_leases() -> None:
    """As where a target came from a copy of another one: each would work on half of the shards."""
    one = over(MemoryLeases())
    await one.acquire(replace(EAST, source_cluster_id="", target_cluster_id=""))  # of an older version: not known yet
    await one.acquire(EAST)
    await one.renew(replace(EAST, source_cluster_id=""))
    with pytest.raises(Conflict, match="target_cluster_id is T"):
        await one.renew(replace(EAST, target_cluster_id="copy"))


async def test_the_uids_of_a_flow_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may ask for leases of one flow does not fill the store with tables."""
    monkeypatch.setattr(coordinator, "_UIDS_PER_FLOW_MAX", 3)
    one = over(MemoryLeases())
    for number in range(3):
        await one.renew(replace(EAST, flow_uid=f"u{number}"))
    with pytest.raises(Conflict, match="3 flows are named 'east'"):
        await one.renew(replace(EAST, flow_uid="u3"))
    await one.renew(WEST)
    await one.renew(replace(EAST, flow_uid="u0"))


async def test_the_uids_of_all_flows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may ask for leases of a glob of flows makes up names without end."""
    monkeypatch.setattr(coordinator, "_UIDS_MAX", 3)
    one = over(MemoryLeases())
    for number in range(3):
        await one.renew(replace(EAST, flow=f"east-{number}", flow_uid=f"u{number}"))
    with pytest.raises(Conflict, match="3 flows are known"):
        await one.renew(replace(EAST, flow="east-3", flow_uid="u3"))
    await one.renew(replace(EAST, flow="east-0", flow_uid="u0"))


async def test_a_long_list_gives_others_their_turn(tmp_path: Path) -> None:
    """256 tables of 256 shards held up a daemon for seconds, at every call of an observer."""
    store = SqliteLeases(tmp_path)
    one = over(store)
    for number in range(200):
        await one.renew(replace(EAST, flow_uid=f"u{number}", shards=256))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    try:
        assert len(await one.tables()) == 200
    finally:
        other.cancel()
        await store.close()
    assert turns > 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"shards": 0},
        {"shards": 1 << 20},
        {"held": {2: 1}},
        {"held": {-1: 1}},
        {"held": {0: 1 << 63}},
        {"held": {0: -1}},
        {"floors": {0: (1 << 62) + 1}},
        {"busy": (0, 1, 1)},
        {"busy": (7,)},
        {"instance": ""},
        {"instance": "x" * 301},
        {"instance": "a\x1b[2Jb"},
        {"address": "x" * 301},
        {"flow": "x" * 64},
        {"flow_uid": "../claims"},
        {"flow_uid": "x" * 65},
        {"target_cluster_id": "x" * 65},
    ],
)
async def test_what_no_daemon_says_is_refused(wrong: dict[str, object]) -> None:
    """And changes nothing."""
    store = MemoryLeases()
    with pytest.raises(UsageError):
        await over(store).acquire(replace(EAST, **wrong))  # type: ignore[arg-type]
    assert not any(key.startswith("leases/") for key in store.values)


async def test_the_largest_epoch_leaves_room_for_the_next() -> None:
    """A lease is granted above it, and its holder may tell of it."""
    one = over(MemoryLeases())
    table = (await one.acquire(replace(EAST, floors={0: 1 << 62, 1: 1 << 62}))).table
    epochs = {lease.shard: lease.epoch for lease in table.leases}
    assert epochs == {0: (1 << 62) + 1, 1: (1 << 62) + 1}
    await one.renew(replace(EAST, held=epochs))
