"""Watches the copied ends while faults come and go: how long after its end until everything moves again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException

from chaos.clients import Admin, Ends
from chaos.faults import Fault
from chaos.records import Topic

_SAMPLE_SECONDS = 0.25
_ASK_SECONDS_MAX = 2.0
_JOIN_SECONDS_MAX = 15.0


@dataclass(slots=True)
class Recovery:
    """One fault's.

    Attributes:
        fault: Which.
        healed_at: When it ended, on the monotonic clock, or when a pause by command after that ended.
        waiting: Partitions that have not moved since, and their target ends then.
        seconds: From `healed_at` until the last partition of present records had moved; None while it has not.
        old_seconds: The same for the partitions of old records, which must wait out doubts.
    """

    fault: Fault
    healed_at: float
    waiting: Ends
    seconds: float | None = None
    old_seconds: float | None = None


@dataclass(slots=True)
class Watch:
    """Samples both clusters in the background. A context manager.

    Attributes:
        source: Latest known ends of the source.
        target: Latest known ends of the target.
        recoveries: Of every fault that has ended.
        load_ended: Set once the source grows no more: from then on being at its end counts as moved.
    """

    source_admin: Admin
    target_admin: Admin
    topics: tuple[Topic, ...]
    source: Ends = field(default_factory=dict)
    target: Ends = field(default_factory=dict)
    recoveries: list[Recovery] = field(default_factory=list)
    load_ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS_MAX)

    def healed(self, fault: Fault) -> None:
        """Note that a fault has ended now."""
        with self._lock:
            self.recoveries.append(Recovery(fault, time.monotonic(), dict(self.target)))

    def resumed(self) -> None:
        """Note that the flow goes on now after a pause by command: what has not moved before had no chance to."""
        with self._lock:
            for recovery in self.recoveries:
                if recovery.waiting:
                    recovery.healed_at = time.monotonic()

    def all_recovered(self) -> bool:
        """Whether everything has moved since the last fault ended."""
        with self._lock:
            return not any(recovery.waiting for recovery in self.recoveries)

    def lag(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return (target end, source end) of the partitions that differ, as of the last sample."""
        with self._lock:
            return {
                where: (self.target.get(where, 0), end)
                for where, end in sorted(self.source.items())
                if self.target.get(where, 0) != end
            }

    def _run(self) -> None:
        names = [topic.name for topic in self.topics]
        while not self._stopping.wait(_SAMPLE_SECONDS):
            try:
                target = self.target_admin.ends(names, _ASK_SECONDS_MAX)
                source = self.source_admin.ends(names, _ASK_SECONDS_MAX)
            except KafkaException:  # nobody of a cluster answers: the last sample stands
                continue
            self.take(source, target, time.monotonic())

    def take(self, source: Ends, target: Ends, now: float) -> None:
        """Take a sample, made until `now`."""
        old = {topic.name for topic in self.topics if topic.old}
        with self._lock:
            self.source.update(source)
            self.target.update(target)
            for recovery in self.recoveries:
                if recovery.old_seconds is None or recovery.seconds is None:
                    self._update(recovery, old, now)

    def _update(self, recovery: Recovery, old: set[str], now: float) -> None:
        for where, before in list(recovery.waiting.items()):
            here = self.target.get(where, 0)
            if here > before or (self.load_ended.is_set() and here >= self.source.get(where, 0)):
                del recovery.waiting[where]
        took = now - recovery.healed_at
        if recovery.seconds is None and all(topic in old for topic, _ in recovery.waiting):
            recovery.seconds = took
        if recovery.old_seconds is None and not any(topic in old for topic, _ in recovery.waiting):
            recovery.old_seconds = took
