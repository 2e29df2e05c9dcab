"""Requests on a connection that are not answered yet: whose response comes next, and when it is due."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.errors import KafkaError
    from replicator.wire.frames import Frame

_NUMBERS = 0x7FFFFFFF


class Waiting(NamedTuple):
    """One request without a response.

    Attributes:
        correlation_id: The number that its response must carry.
        deadline: When the response is due, by the clock of `Unanswered`.
        api_key: The request's API key.
        frame: Where to read the response; None for a fresh buffer.
        frame_bytes_max: The largest response accepted.
        on_answer: Called exactly once, with the response or an error.
    """

    correlation_id: int
    deadline: float
    api_key: int
    frame: Frame | None
    frame_bytes_max: int
    on_answer: Callable[[Frame | None, KafkaError | None], None]


class Unanswered:
    """The requests of one connection in the order of their sending, which is the order of their responses.

    Deadlines follow a clock that stops while the broker reads nothing, or we have no room to read.
    Times are seconds of the loop's clock.

    Attributes:
        waiting: Those requests; the reader of a response removes the first one.
    """

    def __init__(self) -> None:
        self.waiting: deque[Waiting] = deque()
        self._numbers = itertools.count(1)
        self._stopped_seconds = 0.0
        self._stopped_since: float | None = None

    def add(
        self,
        api_key: int,
        frame: Frame | None,
        frame_bytes_max: int,
        on_answer: Callable[[Frame | None, KafkaError | None], None],
        due: float,
    ) -> int:
        """Expect one more response, after the others; return the correlation id for the request.

        Args:
            api_key: As in `Waiting`.
            frame: As in `Waiting`.
            frame_bytes_max: As in `Waiting`.
            on_answer: As in `Waiting`.
            due: When the response is due if the clock does not stop from now on.
        """
        correlation_id = next(self._numbers) & _NUMBERS
        deadline = due - self._stopped_seconds
        self.waiting.append(Waiting(correlation_id, deadline, api_key, frame, frame_bytes_max, on_answer))
        return correlation_id

    def take_all(self) -> tuple[Waiting, ...]:
        """Remove and return all of them: no response will come."""
        waiting = tuple(self.waiting)
        self.waiting.clear()
        return waiting

    # -- the clock ----------------------------------------------------------------------------------------------------

    def is_late(self, now: float) -> bool:
        """Return whether the first response is overdue."""
        if self._stopped_since is not None or not self.waiting:
            return False
        return now - self._stopped_seconds >= self.waiting[0].deadline

    def extend(self, seconds: float) -> None:
        """Move all deadlines by that long: the broker reads nothing meanwhile."""
        self._stopped_seconds += seconds

    def stop_clock(self, now: float) -> None:
        """Stop the clock until `start_clock`: we read nothing."""
        self._stopped_since = now

    def start_clock(self, now: float) -> None:
        """Start the clock again after `stop_clock`."""
        if self._stopped_since is not None:
            self._stopped_seconds += now - self._stopped_since
            self._stopped_since = None
