"""What was asked on a connection and is not answered yet: whose answer comes next, and by when it is due."""

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
    """One request without an answer.

    Attributes:
        correlation_id: The number that its answer has to bear.
        deadline: By when it is due, by the clock of `Unanswered`.
        api_key: Kafka's number of the request.
        frame: Where its answer is to be read; None for a fresh buffer.
        frame_bytes_max: The largest answer accepted.
        on_answer: Called exactly once, with the answer or an error.
    """

    correlation_id: int
    deadline: float
    api_key: int
    frame: Frame | None
    frame_bytes_max: int
    on_answer: Callable[[Frame | None, KafkaError | None], None]


class Unanswered:
    """The requests of one connection in the order in which they were sent, which is the order of their answers.

    Deadlines are by a clock that stands while the broker reads nothing, or we have no room to read.
    Times are seconds of the loop's clock.

    Attributes:
        waiting: Those requests; who reads the answer to the first takes it out.
    """

    def __init__(self) -> None:
        self.waiting: deque[Waiting] = deque()
        self._numbers = itertools.count(1)
        self._stood_seconds = 0.0
        self._stands_since: float | None = None

    def add(
        self,
        api_key: int,
        frame: Frame | None,
        frame_bytes_max: int,
        on_answer: Callable[[Frame | None, KafkaError | None], None],
        due: float,
    ) -> int:
        """Expect one more answer, behind the others; return the correlation id for the request.

        Args:
            api_key: As in `Waiting`.
            frame: The same.
            frame_bytes_max: The same.
            on_answer: The same.
            due: By when, if nothing stands from now on.
        """
        correlation_id = next(self._numbers) & _NUMBERS
        deadline = due - self._stood_seconds
        self.waiting.append(Waiting(correlation_id, deadline, api_key, frame, frame_bytes_max, on_answer))
        return correlation_id

    def take_all(self) -> tuple[Waiting, ...]:
        """Take out all of them: no answer comes any more."""
        waiting = tuple(self.waiting)
        self.waiting.clear()
        return waiting

    # -- the clock ----------------------------------------------------------------------------------------------------

    def is_late(self, now: float) -> bool:
        """Return whether the first answer is overdue."""
        if self._stands_since is not None or not self.waiting:
            return False
        return now - self._stood_seconds >= self.waiting[0].deadline

    def extend(self, seconds: float) -> None:
        """Give everything that long in addition: its broker reads nothing meanwhile."""
        self._stood_seconds += seconds

    def stand(self, now: float) -> None:
        """Let nothing become late until `go_on`: we read nothing."""
        self._stands_since = now

    def go_on(self, now: float) -> None:
        """Go on after `stand`."""
        if self._stands_since is not None:
            self._stood_seconds += now - self._stands_since
            self._stands_since = None
