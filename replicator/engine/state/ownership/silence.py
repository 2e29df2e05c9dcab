"""Whether every daemon of a flow has ended, or was silent for so long that it can have no effect any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.state import records as state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Silence:
    """The signs of life of a flow's daemons, and how long each has not changed.

    Args:
        uid: The flow.
        seconds: How long a daemon may have an effect after its last sign of life.
        now: Returns the monotonic time.
    """

    def __init__(self, uid: str, seconds: float, now: Callable[[], float]) -> None:
        self._uid = uid
        self._seconds = seconds
        self._now = now
        self._seen: dict[bytes, tuple[bytes, float]] = {}

    def judge(self, records: Mapping[bytes, bytes]) -> Mapping[bytes, bytes] | None:
        """Return the signs that were found to be silent, all there are; None while a daemon may have an effect.

        A change that relies on it compares these with the signs at that moment.
        """
        now, signs = self._now(), state.signs_of(records, self._uid)
        self._seen = {
            key: self._seen[key] if key in self._seen and self._seen[key][0] == raw else (raw, now)
            for key, raw in signs.items()
        }
        return None if any(now - since < self._seconds for _, since in self._seen.values()) else signs
