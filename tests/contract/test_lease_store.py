"""Every store of leases keeps the promises of `store.lease_store`."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from replicator.devkit import free_base_port
from replicator.devkit.etcd import Etcd
from replicator.errors import StoreError, StoreFull
from replicator.model.lease import Versioned
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.client.etcd_leases import EtcdLeases
from replicator.store.lease_store import LeaseStore
from replicator.store.memory_leases import MemoryLeases
from replicator.store.sqlite_leases import SqliteLeases

Open = Callable[[], LeaseStore]


@pytest.fixture
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """A real etcd of three members."""
    made = Etcd(tmp_path_factory.mktemp("etcd"), free_base_port(1), 3)
    made.start()
    yield made
    made.stop()


@pytest_asyncio.fixture(params=["memory", "sqlite", pytest.param("etcd", marks=pytest.mark.long)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LeaseStore]:
    """An empty store of each kind."""
    made: LeaseStore
    if request.param == "etcd":
        made = EtcdLeases(members(request.getfixturevalue("etcd")))
    else:
        made = MemoryLeases() if request.param == "memory" else SqliteLeases(tmp_path)
    yield made
    await made.close()


def members(etcd: Etcd) -> list[Endpoint]:
    """Return where its members answer."""
    return [Endpoint(f"127.0.0.1:{etcd.port(one)}", timeout_seconds=2.0) for one in range(etcd.members)]


@pytest.mark.long
async def test_any_member_of_etcd_may_die(tmp_path: Path) -> None:
    """One of three may; with two gone the store says so, and goes on once one is back, with what it had."""
    etcd = Etcd(tmp_path, free_base_port(1), 3)
    etcd.start()
    try:
        store = EtcdLeases(members(etcd))
        seen = await store.compare_and_set("a", b"0", 0)
        assert seen is not None
        for member in range(3):
            etcd.kill(member)
            seen = await _patiently(store, "a", seen)
            etcd.start_member(member)
            await asyncio.sleep(2.0)
        etcd.kill(0)
        etcd.kill(1)
        with pytest.raises(StoreError, match="etcd at"):
            await store.compare_and_set("a", b"x", seen.revision)
        etcd.start_member(0)
        assert (await _patiently(store, "a", seen)).value == b"4"
        await store.close()
    finally:
        etcd.stop()


async def _patiently(store: LeaseStore, key: str, before: Versioned) -> Versioned:
    """Count further; while there is no leader the outcome of a change is unknown, and is looked at."""
    wanted = b"%d" % (int(before.value) + 1)
    for _ in range(100):
        try:
            seen = await store.read(key)
            if seen is not None and seen.value == wanted:
                return seen
            if seen is not None:
                await store.compare_and_set(key, wanted, seen.revision)
        except StoreError:
            await asyncio.sleep(0.1)
    raise AssertionError(f"{key} does not become {wanted!r}")


async def test_compare_and_set(store: LeaseStore) -> None:
    """A value changes only from the revision that was meant, and revisions rise."""
    assert await store.read("a") is None
    assert await store.compare_and_set("a", b"1", 7) is None
    first = await store.compare_and_set("a", b"1", 0)
    assert first is not None
    assert first.revision > 0
    assert await store.compare_and_set("a", b"x", 0) is None
    second = await store.compare_and_set("a", b"2", first.revision)
    assert second is not None
    assert second.revision > first.revision
    assert await store.compare_and_set("a", b"x", first.revision) is None
    assert await store.read("a") == second
    await store.close()
    await store.close()


async def test_read_all(store: LeaseStore) -> None:
    """By prefix, as it is written."""
    for key in ("leases/a", "leases/b", "other", "leases_c"):
        await store.compare_and_set(key, key.encode(), 0)
    assert {key: value.value for key, value in (await store.read_all("leases/")).items()} == {
        "leases/a": b"leases/a",
        "leases/b": b"leases/b",
    }


async def test_wait_for_change(store: LeaseStore) -> None:
    """At once where it has changed already, else when it does, else after the time-out."""
    assert await store.wait_for_change("a", 0, 0.01) is None
    waiting = asyncio.create_task(store.wait_for_change("a", 0, 10))
    await asyncio.sleep(0.01)
    first = await store.compare_and_set("a", b"1", 0)
    assert first is not None
    assert await waiting == first
    assert await store.wait_for_change("a", 0, 10) == first
    assert await store.wait_for_change("a", first.revision, 0.01) is None


async def _count(store: LeaseStore, times: int) -> None:
    for _ in range(times):
        while True:
            seen = await store.read("n")
            value = int(seen.value) if seen is not None else 0
            if await store.compare_and_set("n", b"%d" % (value + 1), seen.revision if seen is not None else 0):
                break
            await asyncio.sleep(0)


async def test_no_update_is_lost(store: LeaseStore) -> None:
    """Eight tasks count together."""
    await asyncio.gather(*(_count(store, 25) for _ in range(8)))
    seen = await store.read("n")
    assert seen is not None
    assert seen.value == b"200"


def _count_in_a_process(directory: Path) -> None:
    asyncio.run(_count(SqliteLeases(directory), 40))


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    """Three of them count together."""
    SqliteLeases(tmp_path)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count_in_a_process, args=(tmp_path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    seen = asyncio.run(SqliteLeases(tmp_path).read("n"))
    assert seen is not None
    assert seen.value == b"120"


async def test_a_full_disk(tmp_path: Path) -> None:
    """The change is refused, what was there stays, and with room it works again."""
    store = SqliteLeases(tmp_path)
    first = await store.compare_and_set("a", b"1", 0)
    assert first is not None
    store._file.connection.execute("PRAGMA max_page_count = 3")
    with pytest.raises(StoreFull, match=r"leases\.db cannot be written"):
        await store.compare_and_set("b", bytes(100_000), 0)
    assert await store.read("a") == first
    store._file.connection.execute("PRAGMA max_page_count = 1000000")
    assert await store.compare_and_set("b", bytes(100_000), 0) is not None


def test_a_damaged_file_is_whole_or_refused(tmp_path: Path) -> None:
    """Cut or changed anywhere: what was acknowledged is there, or nothing of it is used and the file is named."""
    values = {f"k{number}": b"%d" % number * 50 for number in range(20)}

    async def write() -> None:
        store = SqliteLeases(tmp_path)
        for key, value in values.items():
            await store.compare_and_set(key, value, 0)
        await store.close()

    asyncio.run(write())
    path = tmp_path / "leases.db"
    whole = path.read_bytes()
    chance = random.Random(1)  # noqa: S311 - places of damage
    refusals: list[str] = []
    for _ in range(200):
        damaged = bytearray(whole)
        if chance.random() < 0.5:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        for old in tmp_path.iterdir():
            old.unlink()
        path.write_bytes(damaged)
        try:
            found = asyncio.run(_read_all(tmp_path))
        except StoreError as error:
            refusals.append(str(error))
        else:
            # An empty file is a new one: leases are acquired anew.
            assert found == (values if damaged else {})
    assert all("leases.db" in text for text in refusals)
    assert len(refusals) > 100


async def _read_all(directory: Path) -> dict[str, bytes]:
    store = SqliteLeases(directory)
    try:
        return {key: seen.value for key, seen in (await store.read_all("")).items()}
    finally:
        await store.close()


def test_a_kill_in_the_middle_of_writes(tmp_path: Path) -> None:
    """What stands in the file is whole, and it is used further."""
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=_count_for_ever, args=(tmp_path,))
    worker.start()
    seen = None
    while seen is None or int(seen.value) < 50:
        seen = asyncio.run(SqliteLeases(tmp_path).read("n"))
    worker.kill()
    worker.join(10)
    again = asyncio.run(SqliteLeases(tmp_path).read("n"))
    assert again is not None
    assert int(again.value) >= int(seen.value)
    assert again.revision == int(again.value)
    assert sqlite3.connect(tmp_path / "leases.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _count_for_ever(directory: Path) -> None:
    asyncio.run(_count(SqliteLeases(directory), 1_000_000))
