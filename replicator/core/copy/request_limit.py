"""How large a request a target broker takes, as far as it is told or shows.

A broker closes the connection over a request that is larger than its `socket.request.max.bytes`, without an answer
(Kafka's InvalidReceiveException): all partitions of that connection lose what is on its way, again and again. So after
each loss with requests on their way it is asked for that setting. Where it does not tell, the batches that were on
their way are sent one at a time: whoever loses the connection twice in a row, each time at once, and is larger than all
that went through meanwhile, is too large for it. A small one may have been unlucky: it is too large only once as many
losses as no bad luck brings were over batches that are no larger.

Pure: answers, losses and times come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

ENVELOPE_BYTES = 512
"""What a request takes at most beside its partitions."""
PARTITION_BYTES = 320
"""What it takes for each partition beside its batch: most of that is the topic's name."""
STRIKES_MAX = 2
LOSSES_MAX = 10
"""A connection is lost for many other reasons, and a small batch may meet two in a row. Ten take some 15 seconds."""
_SMALL_BYTES = 64 << 10
"""Hardly a cluster works whose brokers take no request of this size."""
_AT_ONCE_SECONDS = 5.0
"""A broker refuses a request by its length, which comes first: what it closes later it closes for other reasons."""
_CAREFUL_SECONDS = 60.0
"""For how long after a loss and the doubt about it batches are sent one at a time: an attach takes less."""


class RequestLimit:
    """What is known of one broker.

    Args:
        doubt_seconds: How long a batch whose connection was lost may have to wait before it is sent again.

    Attributes:
        bytes_max: Its setting; None while it was not told.
        wants_asking: Whether the connection was lost with requests on their way, and it was not asked since.
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
        """Return whether batches are sent one at a time at monotonic time `now`, as the broker does not tell."""
        if self._suspects and now >= self._careful_until:
            self._clear()  # what is left of them is not sent here any more
        return bool(self._suspects)

    def takes(self, batch_bytes: int, sent_bytes: int = 0, partitions: int = 0) -> bool:
        """Return whether a request may carry a batch beside what it carries already.

        Args:
            batch_bytes: The batch.
            sent_bytes: Batches of other partitions.
            partitions: How many those are.
        """
        if self.bytes_max is None:
            return True
        return batch_bytes + sent_bytes + ENVELOPE_BYTES + (partitions + 1) * PARTITION_BYTES <= self.bytes_max

    def told(self, bytes_max: int | None) -> None:
        """Take what the broker says of it; None where it does not."""
        self.wants_asking = False
        if bytes_max is not None:
            self.bytes_max = bytes_max
            self._clear()

    def lost(self, sent: Iterable[tuple[Hashable, int, int]], sent_at: float, now: float) -> bool:
        """Take the loss of a connection before a request was answered; return whether its batch is too large.

        Args:
            sent: What it carried: whose batch, at which offset, of how many bytes.
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
        """Take the answer to a batch that was sent while this is careful."""
        self._passed_bytes = max(self._passed_bytes, size)
        self._lost_bytes = [lost for lost in self._lost_bytes if lost > size]
        self._suspects.discard(who)
        self._strikes.pop(who, None)
        if not self._suspects:
            self._clear()

    def unreachable(self) -> None:
        """Take that the broker refuses connections: it is away, and no batch is to blame."""
        self._clear()

    def _clear(self) -> None:
        self._suspects.clear()
        self._strikes.clear()
        self._passed_bytes = 0
        self._lost_bytes.clear()
