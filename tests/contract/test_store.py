"""One suite for every event store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from replicator.errors import StoreError, StoreFull
from replicator.model.status.events import Event
from replicator.store.background_store import BackgroundStore
from replicator.store.event_store import EVENTS_MAX, MemoryStore, Store
from replicator.store.sqlite_events import SqliteStore

Make = Callable[[], Store]


def _event(number: int, flow: str = "f", topic: str | None = "t") -> Event:
    return Event("2026-01-01T00:00:00.000+00:00", flow, topic, 0, "ATTACHING", "COPYING", None, f"event {number}")


@pytest.fixture(params=["memory", "sqlite", "background"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Return a function that opens the store; sqlite opens the same file each time."""
    opened: list[Store] = []

    def open_store() -> Store:
        store: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path)
        if request.param == "background":
            store = BackgroundStore(store)
        opened.append(store)
        return store

    yield open_store
    for store in opened:
        store.close()


def test_events_come_back_in_order_newest_last(make: Make) -> None:
    """The last ones are returned, in the order they were added."""
    store = make()
    for number in range(10):
        store.add(_event(number))

    assert [f"event {number}" for number in (7, 8, 9)] == [event.text for event in store.recent("f", None, 3)]


def test_events_are_chosen_by_flow_and_topic(make: Make) -> None:
    """Another flow's or topic's events stay away."""
    store = make()
    store.add(_event(1))
    store.add(_event(2, flow="other"))
    store.add(_event(3, topic="u"))
    store.add(_event(4, topic=None))

    assert [event.text for event in store.recent("f", None, 10)] == ["event 1", "event 3", "event 4"]
    assert [event.text for event in store.recent("f", "u", 10)] == ["event 3"]


def test_a_store_is_bounded(make: Make) -> None:
    """Only about so many events are kept."""
    store = make()
    for number in range(EVENTS_MAX + 1000):
        store.add(_event(number))

    kept = len(store.recent("f", None, 10 * EVENTS_MAX))
    assert EVENTS_MAX <= kept <= EVENTS_MAX + 500  # a file is trimmed now and then


def test_sqlite_events_survive_a_restart(tmp_path: Path) -> None:
    """A second store on the same directory finds them."""
    first = SqliteStore(tmp_path)
    first.add(_event(1))
    first.close()

    second = SqliteStore(tmp_path)

    assert [_event(1)] == second.recent("f", None, 10)
    second.close()


@pytest.mark.parametrize("damage", ["half", "garbage", "flipped"])
def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    """It is a cache: a half-written or foreign file stops nothing; nothing is guessed from it, and it is kept."""
    store = SqliteStore(tmp_path)
    for number in range(2000):
        store.add(_event(number))
    store.close()
    path = tmp_path / "replicator.db"
    content = path.read_bytes()
    broken = {
        "half": content[: len(content) // 2],
        "garbage": b"not a database" * 1000,
        "flipped": content[:5000] + b"\xff" * 8000 + content[13000:],
    }
    path.write_bytes(broken[damage])

    store = SqliteStore(tmp_path)
    assert store.recent("f", None, 10) == []
    store.add(_event(1))
    assert len(store.recent("f", None, 10)) == 1
    store.close()
    [aside] = tmp_path.glob("replicator.db.damaged-*Z")
    assert aside.read_bytes()[:100] == broken[damage][:100]
    assert (path.stat().st_mode & 0o777, store.set_aside) == (0o600, aside)


@pytest.mark.parametrize("name", ["replicator.db", "replicator.db-wal"])
def test_a_link_in_its_place_is_not_followed(tmp_path: Path, name: str) -> None:
    """Whoever made it would have us write to what it leads to."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / name).symlink_to(victim)
    with pytest.raises(StoreError, match="symbolic link") as caught:
        SqliteStore(tmp_path)

    assert (victim.read_bytes(), "rm " in caught.value.next_step) == (b"precious", True)


_FULL = """
import resource, signal, sys
from pathlib import Path
from replicator.errors import StoreError
from replicator.model.status.events import Event
from replicator.store.sqlite_events import SqliteStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SqliteStore(Path(sys.argv[1]))
event = Event("now", "f", "t", 0, None, None, None, "x" * 1000)
store.add(event)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for _ in range(1000):
        store.add(event)
except StoreError as error:
    kept = len(store.recent("f", None, 1000))
    print("StoreError", kept > 0, "disk" in error.next_step)
"""


def test_a_full_disk_is_an_error_and_keeps_what_was_written(tmp_path: Path) -> None:
    """The write fails loudly and the earlier events can still be read."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "StoreError True True"


def test_no_room_is_told_from_other_faults(tmp_path: Path) -> None:
    """A daemon goes on without its events then, and stops for a damaged file."""
    store = SqliteStore(tmp_path)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreFull, match="cannot be written"):
        store.add(Event("now", "f", "t", 0, None, None, None, "x" * 100_000))


def test_which_cluster_a_flow_met_is_kept(make: Make) -> None:
    """The last one of each flow and alias."""
    store = make()
    assert store.noted_cluster("f", "east") is None
    store.note_cluster("f", "east", "one")
    store.note_cluster("f", "east", "two")
    store.note_cluster("g", "east", "three")

    assert (store.noted_cluster("f", "east"), store.noted_cluster("g", "east")) == ("two", "three")
    assert store.noted_cluster("f", "west") is None


def test_a_second_connection_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    """It looked at the files by opening them: closing them let go of every lock, and a write died of SIGBUS."""
    code = """
import sys
from pathlib import Path
from replicator.store.sqlite_file import SqliteFile
path, schema = Path(sys.argv[1]), "CREATE TABLE IF NOT EXISTS t (v BLOB)"
first = SqliteFile(path, schema, "x")
for at in range(50):
    first.connection.execute("INSERT INTO t VALUES (zeroblob(4096))")
locks = {line.split()[5] for line in Path("/proc/locks").read_text().splitlines()}
second = SqliteFile(path, schema, "x")
kept = {line.split()[5] for line in Path("/proc/locks").read_text().splitlines()}
shared = f":{Path(f'{path}-shm').stat().st_ino}"
assert any(one.endswith(shared) for one in locks), locks
assert any(one.endswith(shared) for one in kept), kept
"""
    file = tmp_path / "a.db"
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, timeout=60)
