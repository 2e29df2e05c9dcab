"""Worker threads that take partitions from a queue, and reports of their progress."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from replicator.engine.verify.partition import Meter

_POLL_SECONDS = 0.5


class Piece(Protocol):
    """One unit of work: offsets [start, end) of one partition."""

    @property
    def start(self) -> int:
        """First offset."""

    @property
    def end(self) -> int:
        """End of the offsets."""


_Piece = TypeVar("_Piece", bound=Piece)
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class VerifyProgress:
    """How far it got. `offsets_total` counts offsets to compare, an upper bound of the records."""

    partitions_done: int
    partitions_total: int
    records: int
    offsets_done: int
    offsets_total: int
    seconds: float


Progress = Callable[[VerifyProgress], None]


class Pool(Generic[_Piece, _Found]):
    """What the worker threads and the event loop share; counters are only ever read for display.

    Attributes:
        done: What was found, by piece.
        stop: Set once nobody waits for the result.
    """

    def __init__(self, pieces: Iterable[_Piece], progress: Progress | None = None) -> None:
        self.pieces = tuple(pieces)
        self.done: dict[_Piece, _Found] = {}
        self.stop = threading.Event()
        self._queue: queue.SimpleQueue[_Piece] = queue.SimpleQueue()
        for piece in self.pieces:
            self._queue.put(piece)
        self._meters: list[Meter] = []
        self._progress = progress
        self._began = time.monotonic()

    def meter(self) -> Meter:
        """Return the counters of one more worker."""
        made = Meter()
        self._meters.append(made)
        return made

    def take(self) -> _Piece | None:
        """Return the next piece; None once there is none, or it was stopped."""
        if self.stop.is_set():
            return None
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None

    async def run(self, work: Callable[[], None], workers: int) -> None:
        """Run `work` in that many threads and report their progress; on every way out, stop them and wait for them.

        Raises:
            ReplicatorError: What a worker raised.
        """
        count = min(workers, len(self.pieces))
        running = [asyncio.create_task(asyncio.to_thread(work)) for _ in range(count)]
        try:
            while running:
                finished, _ = await asyncio.wait(running, timeout=_POLL_SECONDS)
                for worker in finished:
                    worker.result()
                self._report()
                if len(finished) == len(running):
                    break
        finally:
            self.stop.set()
            await asyncio.gather(*running, return_exceptions=True)

    def _report(self) -> None:
        if self._progress is None:
            return
        self._progress(
            VerifyProgress(
                partitions_done=len(self.done),
                partitions_total=len(self.pieces),
                records=sum(meter.records for meter in self._meters),
                offsets_done=sum(meter.offsets for meter in self._meters),
                offsets_total=sum(max(0, piece.end - piece.start) for piece in self.pieces),
                seconds=time.monotonic() - self._began,
            )
        )
