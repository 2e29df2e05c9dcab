"""How long to wait before retrying something that failed: longer each time, bounded, with jitter."""

from __future__ import annotations

from tenacity import RetryCallState, Retrying, wait_random_exponential


class Backoff:
    """The pauses between the attempts at something that is retried until it succeeds.

    Each is drawn uniformly between the shortest and a bound that doubles with every failure (tenacity's
    `wait_random_exponential`), so that those who failed together do not come back together.

    Args:
        shortest_seconds: Lower bound of every pause.
        longest_seconds: Upper bound.
    """

    def __init__(self, shortest_seconds: float, longest_seconds: float) -> None:
        self._wait = wait_random_exponential(
            multiplier=2 * shortest_seconds, max=longest_seconds, min=min(shortest_seconds, longest_seconds)
        )
        self._tries = RetryCallState(Retrying(wait=self._wait), None, (), {})

    @property
    def failures(self) -> int:
        """How many pauses there were since the last success."""
        return self._tries.attempt_number - 1

    def next_seconds(self) -> float:
        """Return how long to pause after another failed attempt."""
        seconds = self._wait(self._tries)
        self._tries.attempt_number += 1
        return seconds

    def reset(self) -> None:
        """Note a success: the next failure is the first one again."""
        self._tries.attempt_number = 1
