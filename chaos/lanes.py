"""Does steps at the same time where they harm different things, and in their order where they harm the same one."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from chaos.errors import ChaosError
from chaos.faults import RULES, Place
from chaos.plan import Phase, Step

FINISH_SECONDS_MAX = 240.0
"""Longest wait for what is under way when the last step was given out: a node that starts, replicas that catch up."""

_POLL_SECONDS = 0.1


def lane_of(step: Step) -> str:
    """Return what a step harms: steps of one lane never overlap."""
    match RULES[step.fault].place:
        case Place.DAEMON:
            return f"daemon {step.place}"
        case Place.TARGET_NODE | Place.TARGET_LEADER:
            return "target nodes"
        case Place.SOURCE_NODE:
            return "source nodes"
        case Place.LINK:
            return f"link {step.place}"
        case Place.FLOW:
            return "flow"
        case Place.TOPIC:
            return "topics"


class Lanes:
    """A thread for each lane.

    A begin may be late (it waits until the cluster can bear it): its end is late by as much, so that a fault lasts as
    long as it was planned to, never longer.

    Args:
        do: Does a step.
    """

    def __init__(self, do: Callable[[Step], None]) -> None:
        self._do = do
        self._queues: dict[str, queue.SimpleQueue[Step]] = {}
        self._begun: dict[int, tuple[float, float]] = {}
        """Number of a use to when it had begun, and when it was planned to."""
        self._given = 0
        self._done = 0
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._closed = threading.Event()

    def give(self, step: Step) -> None:
        """Have a step done, now or when the steps of its lane before it are."""
        self._given += 1
        name = lane_of(step)
        if name not in self._queues:
            self._queues[name] = queue.SimpleQueue()
            # A daemon thread: an interrupt of the run must not wait for a broker's start.
            threading.Thread(target=self._work, args=(self._queues[name],), name=name, daemon=True).start()
        self._queues[name].put(step)

    def check(self) -> None:
        """Refuse to go on after a step that failed.

        Raises:
            Exception: What the step raised.
        """
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Wait until everything given is done.

        Raises:
            ChaosError: It is not within the bound.
            Exception: What a step raised.
        """
        deadline = time.monotonic() + FINISH_SECONDS_MAX
        while self._done < self._given:
            self.check()
            if time.monotonic() > deadline:
                raise ChaosError(f"{self._given - self._done} steps were not done within {FINISH_SECONDS_MAX:.0f} s")
            time.sleep(_POLL_SECONDS)
        self.check()

    def close(self) -> None:
        """Begin nothing any more."""
        self._closed.set()

    def _work(self, steps: queue.SimpleQueue[Step]) -> None:
        while not self._closed.is_set():
            step = steps.get()
            try:
                self._wait(step)
                if self._closed.is_set():
                    return
                self._do(step)
            except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                self._error = error
                return
            if step.phase is Phase.BEGIN:
                self._begun[step.number] = (time.monotonic(), step.at_seconds)
            with self._lock:
                self._done += 1

    def _wait(self, step: Step) -> None:
        """Wait until an end is due."""
        if step.phase is Phase.END:
            begun_at, planned_at = self._begun[step.number]
            self._closed.wait(max(0.0, begun_at + step.at_seconds - planned_at - time.monotonic()))
