"""What of the process has to be of a world while a history runs in it: the clock, new connections, the log, chance."""

from __future__ import annotations

import contextlib
import random
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from replicator.aio import turns
from replicator.core.copy.machine import PartitionCopy
from replicator.core.offsets import offset_map
from replicator.engine.copy import problems, pump
from replicator.engine.copy.attaching import attacher, displaced, facts
from replicator.engine.copy.partitions import fill_route, live_maps, producer_state
from replicator.engine.copy.reading import end_checks, reader
from replicator.engine.copy.watching import log_starts
from replicator.engine.copy.writing import filler, seeder, writer
from replicator.engine.flow.assembly import reconcile
from replicator.engine.logs import leaders
from replicator.engine.state.ownership import shown_markers
from replicator.engine.state.topic import log as state_log
from replicator.engine.state.topic import view as state_view
from replicator.engine.work import claim, coordinator, leases, presence, shards
from replicator.wire.transport import connections
from tests.copy_world import network
from tests.copy_world.daemon import Daemon
from tests.copy_world.world import BEGAN_MS, BEGAN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replicator.core.copy.values import Batch
    from replicator.engine.copy.attaching.facts import AttachFacts
    from replicator.engine.copy.partitions.partition import Slot
    from tests.copy_world.world import World

_RUNS_PER_BLOCK = 2
"""So that blocks fill up within a short history."""
_LOGGING: tuple[ModuleType, ...] = tuple(
    module
    for module in (
        attacher,
        displaced,
        end_checks,
        facts,
        fill_route,
        filler,
        live_maps,
        log_starts,
        pump,
        problems,
        producer_state,
        reader,
        seeder,
        writer,
        leaders,
        state_log,
        shown_markers,
        state_view,
        claim,
        coordinator,
        leases,
        presence,
        reconcile,
        shards,
    )
    if hasattr(module, "log") or hasattr(module, "_log")
)


class _Clock:
    """`time`, for code that looks at the clock of the machine: it stands still within a turn of the loop."""

    def __init__(self, world: World) -> None:
        self.monotonic = self.perf_counter = world.loop.time

    def time(self) -> float:
        """The wall clock, in seconds."""
        return self.time_ns() / 1e9

    def time_ns(self) -> int:
        """The wall clock."""
        return (BEGAN_MS + round((self.monotonic() - BEGAN_SECONDS) * 1000)) * 1_000_000


def _nothing(*_: object, **__: object) -> None:
    """Take a line of the log: thousands of histories would write millions."""


_SILENT = SimpleNamespace(debug=_nothing, info=_nothing, warning=_nothing, error=_nothing)
_note_displaced = PartitionCopy._note_displaced
_take_facts = attacher.AttachLoop._take_facts


def _noting(self: attacher.AttachLoop, slot: Slot, found: AttachFacts, began: float) -> None:
    """Let each daemon know what its attach has read: the judge asks what a stop was decided from."""
    watcher = self._supervisor._watcher  # type: ignore[attr-defined]
    if isinstance(watcher, Daemon):
        watcher.noted[slot.source.partition].facts = found
    _take_facts(self, slot, found, began)


def _telling(world: World) -> Callable[..., bool]:
    """Let the judge know which daemon was told of a batch that landed further on."""

    def told(self: PartitionCopy, batch: Batch, base_offset: int) -> bool:
        noted = _note_displaced(self, batch, base_offset)
        if noted:
            for partition in world.partitions:
                for daemon in world.daemons:
                    slot = daemon.slot_of(partition.number)
                    if slot is not None and slot.copy is self:
                        mine = daemon.noted[partition.number]
                        mine.displaced, mine.displaced_at = True, partition.map_generation
        return noted

    return told


@contextlib.contextmanager
def at_home(world: World, seed: int) -> Iterator[None]:
    """Let the process belong to a world."""
    random.seed(seed)
    clock = _Clock(world)
    changed: list[tuple[Any, str, Any]] = [(module, "time", clock) for module in (attacher, turns, state_log, seeder)]
    changed += [(module, "log" if hasattr(module, "log") else "_log", _SILENT) for module in _LOGGING]
    changed += [
        (connections, "open_connection", network.open_connection),
        (offset_map, "RUNS_PER_BLOCK", _RUNS_PER_BLOCK),
        (attacher.AttachLoop, "_take_facts", _noting),
        (PartitionCopy, "_note_displaced", _telling(world)),
    ]
    changed += world.rules.patches
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changed]
    for owner, name, value in changed:
        setattr(owner, name, value)
    try:
        with world.loop.entered():
            yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
