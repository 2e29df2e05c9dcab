"""How long to wait before something that failed is tried again: longer each time, bounded, with random jitter."""

from __future__ import annotations

import random

from tenacity import RetryCallState, Retrying, wait_exponential

_RETRYING = Retrying()


class Backoff:
    """The pauses between the attempts at something that is retried until it succeeds.

    Each pause is drawn uniformly from the upper half of a bound that doubles with every failure (tenacity's
    `wait_exponential`), so that clients that failed together do not come back together.

    Args:
        shortest_seconds: Lower bound of every pause.
        longest_seconds: Upper bound of every pause; half of it is the lower bound once it is reached.
        free_failures: How many failures in a row are retried at once.
    """

    def __init__(self, shortest_seconds: float, longest_seconds: float, *, free_failures: int = 0) -> None:
        self._bound = wait_exponential(multiplier=2 * shortest_seconds, max=longest_seconds)
        self._shortest_seconds = min(shortest_seconds, longest_seconds)
        self._free_failures = free_failures
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many attempts have failed since the last success."""
        return self._failures

    def next_seconds(self) -> float:
        """Return how long to pause after another failed attempt."""
        self._failures += 1
        paid = self._failures - self._free_failures
        if paid <= 0:
            return 0.0
        tries = RetryCallState(_RETRYING, None, (), {})
        tries.attempt_number = paid
        bound = self._bound(tries)
        return random.uniform(max(bound / 2, self._shortest_seconds), bound)  # noqa: S311 - spreading, not secrecy

    def reset(self) -> None:
        """Note a success: the next failure is the first one again."""
        self._failures = 0
