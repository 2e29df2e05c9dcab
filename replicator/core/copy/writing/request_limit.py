"""How large a request a target broker accepts, as far as the broker reports it or its behaviour shows it.

A broker closes the connection, without a response, over a request larger than its `socket.request.max.bytes` (Kafka's
InvalidReceiveException): all partitions of that connection lose what is in flight, again and again. So after each loss
with requests in flight, the broker is asked for that setting. If it does not report it, the batches that were in flight
are sent one at a time. A batch is too large if it loses the connection twice in a row, each time at once, and is larger
than everything that got through meanwhile. A small batch may have been unlucky: it is too large only after more losses
over batches no larger than it than bad luck explains.

Pure: responses, losses and times come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

ENVELOPE_BYTES = 512
"""The most that a request takes beside its partitions."""
PARTITION_BYTES = 320
"""The most that it takes per partition beside the batch: mainly the topic's name."""
STRIKES_MAX = 2
LOSSES_MAX = 10
"""Connections are lost for many other reasons, and a small batch may meet two in a row. Ten take some 15 seconds."""
_SMALL_BYTES = 64 << 10
"""Hardly any cluster works whose brokers refuse requests of this size."""
_AT_ONCE_SECONDS = 5.0
"""A broker refuses a request by its length, which comes first: if it closes later, that has other reasons."""
_CAREFUL_SECONDS = 60.0
"""How long after a loss and its doubt time batches are sent one at a time: an attach takes less."""


class RequestLimit:
    """What is known about one broker's limit.

    Args:
        doubt_seconds: How long a batch whose connection was lost may have to wait before it is sent again.

    Attributes:
        bytes_max: The broker's setting; None while unknown.
        wants_asking: Whether the connection was lost with requests in flight, and the broker was not asked since.
    """

    def __init__(self, doubt_seconds: float = 0.0) -> None:
        self._careful_seconds = doubt_seconds + _CAREFUL_SECONDS
        self.bytes_max: int | None = None
        self.wants_asking = False
        self._suspects: set[Hashable] = set()
        self._strikes: dict[Hashable, tuple[int, int]] = {}
        self._careful_until = 0.0
        self._passed_bytes = 0
        self._lost_bytes: list[int] = []

    def is_careful(self, now: float) -> bool:
        """Return whether to send batches one at a time at monotonic time `now`, since the broker reports no limit."""
        if self._suspects and now >= self._careful_until:
            self._clear()  # the remaining suspects are no longer sent here
        return bool(self._suspects)

    def takes(self, batch_bytes: int, sent_bytes: int = 0, partitions: int = 0) -> bool:
        """Return whether a request may carry a batch beside what it carries already.

        Args:
            batch_bytes: Size of the batch.
            sent_bytes: Size of the other partitions' batches.
            partitions: How many other partitions.
        """
        if self.bytes_max is None:
            return True
        return batch_bytes + sent_bytes + ENVELOPE_BYTES + (partitions + 1) * PARTITION_BYTES <= self.bytes_max

    def reported(self, bytes_max: int | None) -> None:
        """Take the limit that the broker reports; None if it reports none."""
        self.wants_asking = False
        if bytes_max is not None:
            self.bytes_max = bytes_max
            self._clear()

    def lost(self, sent: Iterable[tuple[Hashable, int, int]], sent_at: float, now: float) -> bool:
        """Take the loss of a connection before a request was answered; return whether its batch is too large.

        Args:
            sent: What the request carried: whose batch, at which offset, of how many bytes.
            sent_at: When it was sent (monotonic).
            now: The time now (monotonic).
        """
        self.wants_asking = True
        batches = list(sent)
        if self.bytes_max is not None:
            return False
        alone = len(batches) == 1 and batches[0][0] in self._suspects
        self._suspects.update(who for who, _, _ in batches)
        self._careful_until = now + self._careful_seconds
        if not alone or now - sent_at > _AT_ONCE_SECONDS:
            return False
        who, offset, size = batches[0]
        at, strikes = self._strikes.get(who, (offset, 0))
        strikes = strikes + 1 if at == offset else 1
        self._strikes[who] = (offset, strikes)
        self._lost_bytes.append(size)
        if strikes < STRIKES_MAX or size <= self._passed_bytes:
            return False
        return size > _SMALL_BYTES or sum(lost <= size for lost in self._lost_bytes) >= LOSSES_MAX

    def passed(self, who: Hashable, size: int) -> None:
        """Take the response to a batch that was sent while `is_careful`."""
        self._passed_bytes = max(self._passed_bytes, size)
        self._lost_bytes = [lost for lost in self._lost_bytes if lost > size]
        self._suspects.discard(who)
        self._strikes.pop(who, None)
        if not self._suspects:
            self._clear()

    def unreachable(self) -> None:
        """Take that the broker refuses connections: it is down, and no batch is to blame."""
        self._clear()

    def _clear(self) -> None:
        self._suspects.clear()
        self._strikes.clear()
        self._passed_bytes = 0
        self._lost_bytes.clear()
