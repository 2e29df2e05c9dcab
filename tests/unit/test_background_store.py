"""Events are written in a thread: nobody who copies waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from replicator.errors import StoreError, StoreFull
from replicator.model.status.events import Event
from replicator.store import background_store as background
from replicator.store.background_store import BackgroundStore
from replicator.store.event_store import EVENTS_MAX, MemoryStore


def _event(number: int) -> Event:
    return Event("now", "f", "t", 0, None, None, None, f"event {number}")


class Disk(MemoryStore):
    """Hangs, or is full, for as long as it is told to be."""

    def __init__(self) -> None:
        super().__init__()
        self.works = threading.Event()
        self.works.set()
        self.reached = threading.Event()
        self.is_full = False
        self.closed = threading.Event()

    def add(self, event: Event) -> None:
        """Keep an event, once the disk works."""
        self.reached.set()
        self.works.wait()
        if self.is_full:
            raise StoreFull("it cannot be written", why="it is full")
        super().add(event)

    def close(self) -> None:
        """Note it."""
        self.closed.set()


def _texts(events: Sequence[Event]) -> list[str]:
    return [event.text for event in events]


def test_nobody_waits_for_a_disk_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not whoever adds, however much, nor the end; what waits is bounded, and written once the disk works."""
    monkeypatch.setattr(background, "_CLOSE_SECONDS_MAX", 0.01)
    disk = Disk()
    store = BackgroundStore(disk)
    disk.works.clear()
    store.add(_event(0))
    assert disk.reached.wait(10)
    for number in range(1, EVENTS_MAX + 6):
        store.add(_event(number))
    store.note_cluster("f", "east", "one")
    assert store.noted_cluster("f", "east") == "one"
    store.close()
    assert not disk.closed.is_set()
    disk.works.set()
    assert disk.closed.wait(10)
    # The one that the disk hung over, and of the rest the newest.
    kept = _texts(disk.recent("f", None, 2 * EVENTS_MAX))
    assert (len(kept), kept[-1], disk.noted_cluster("f", "east")) == (EVENTS_MAX, f"event {EVENTS_MAX + 5}", "one")


def test_a_full_disk_is_told_until_it_has_room_again() -> None:
    """By each event that comes after one that could not be kept; reading goes on meanwhile."""
    disk = Disk()
    store = BackgroundStore(disk)
    store.add(_event(0))
    assert _texts(store.recent("f", None, 10)) == ["event 0"]
    disk.is_full = True
    store.add(_event(1))
    assert _texts(store.recent("f", None, 10)) == ["event 0"]
    for number in (2, 3):
        with pytest.raises(StoreError, match="cannot be written"):
            store.add(_event(number))
    store.recent("f", None, 10)
    disk.is_full = False
    with pytest.raises(StoreError):  # of the one before: this one is kept
        store.add(_event(4))
    store.recent("f", None, 10)
    store.add(_event(5))
    assert _texts(store.recent("f", None, 10)) == ["event 0", "event 4", "event 5"]
    store.close()
