"""When brokers last answered, and what followed from their silence.

All that shows or decides by whether a cluster is there reads this one record. It is fed by every answer of every
connection, and asks nobody; `engine.flow.cluster_watch` sees to it that brokers in use are asked something now and
then. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.model.status import BrokerStatus, ClusterStatus
from replicator.model.units import format_age

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

SILENT_SECONDS = 10.0
"""A broker in use that has not answered for this long is called silent: the other places add less than 5 s."""
THROTTLED_SECONDS = 15.0
"""For how long after its pause a broker is said to throttle: with a quota in force the next pause comes sooner."""
ANYWHERE = -1
"""The node of a bootstrap address, which may be any."""


@dataclass(eq=False, slots=True)
class BrokerSeen:
    """One broker, over all connections to it.

    Attributes:
        answered_at: When it last answered a request on a connection that was logged in to; None for never.
        failed_at: When it last could not be reached, or was lost; None for never.
        why: The words for that, with the next step where there is one.
        throttled_until: Until when it has last asked to be sent nothing, by a quota.
        throttled_seconds: How long that last pause was.
    """

    answered_at: float | None = None
    failed_at: float | None = None
    why: str = ""
    throttled_until: float = float("-inf")
    throttled_seconds: float = 0.0

    def answers(self, now: float) -> bool:
        """Return whether it has answered lately."""
        return self.answered_at is not None and now - self.answered_at < SILENT_SECONDS

    def failed(self, now: float, why: str) -> None:
        """Note that it could not be reached, refused the login, was lost, or did not answer."""
        self.failed_at, self.why = now, why

    def throttled(self, now: float, until: float) -> None:
        """Note that it asked to be sent nothing for a while: until then its silence tells nothing."""
        self.throttled_until, self.throttled_seconds = until, until - now

    def pause_seconds(self, now: float) -> float:
        """Return how long the last pause was that it asked for, 0 where that was over some time ago."""
        return self.throttled_seconds if now - self.throttled_until < THROTTLED_SECONDS else 0.0

    def heard_at(self) -> float | None:
        """Return since when its silence counts; None where it never answered."""
        return None if self.answered_at is None else max(self.answered_at, self.throttled_until)


@dataclass(eq=False, slots=True)
class ClusterSeen:
    """One cluster, as one flow sees it."""

    _brokers: dict[int, BrokerSeen] = field(default_factory=dict)
    _watched: dict[int, float] = field(default_factory=dict)
    _leaderless: dict[str, float] = field(default_factory=dict)

    def broker(self, node: int) -> BrokerSeen:
        """Return the record of a broker; it lives until it is forgotten."""
        return self._brokers.setdefault(node, BrokerSeen())

    def forget_others(self, nodes: Collection[int]) -> None:
        """Forget all but these brokers, and those that are in use: a cluster may invent others for ever."""
        for node in self._brokers.keys() - self._watched.keys() - {*nodes, ANYWHERE}:
            del self._brokers[node]

    def watch(self, nodes: Collection[int], now: float, leaderless: Collection[str] = ()) -> None:
        """Take which brokers are in use, each of which is asked something every few seconds from now on.

        Those that the cluster does not list any more cannot be asked; they are in use as long as nobody else leads what
        they led (`leaderless`).
        """
        self._watched = {node: self._watched.get(node, now) for node in nodes}
        self._leaderless = {where: self._leaderless.get(where, now) for where in leaderless}

    def silent(self, now: float) -> dict[int, str]:
        """Return the brokers in use that do not answer, in order; for how long and why, as the end of a sentence."""
        found: dict[int, str] = {}
        for node, since in sorted(self._watched.items()):
            seen = self.broker(node)
            heard_at = max(since, seen.heard_at() or since)
            if now - heard_at >= SILENT_SECONDS:
                found[node] = _silence([seen], now)
        return found

    def leaderless(self, now: float) -> list[str]:
        """Return the partitions in use that have had no leader for a while, in order."""
        return sorted(where for where, since in self._leaderless.items() if now - since >= SILENT_SECONDS)

    def up(self, now: float) -> bool | None:
        """Return whether any broker answers; None while that is not known."""
        heard_at = _latest(seen.heard_at() for seen in self._brokers.values())
        if heard_at is not None:
            return now - heard_at < SILENT_SECONDS
        return None if _latest(seen.failed_at for seen in self._brokers.values()) is None else False

    def throttled(self, alias: str, now: float) -> str | None:
        """Return which brokers throttle this client, or did a moment ago, as an operator is told; None for none."""
        slow = {node: seen for node, seen in self._brokers.items() if now - seen.throttled_until < THROTTLED_SECONDS}
        if not slow:
            return None
        node, seen = max(slow.items(), key=lambda one: one[1].throttled_seconds)
        more = f" and {len(slow) - 1:,} more" if len(slow) > 1 else ""
        which = alias if node == ANYWHERE else f"{alias} broker {node}"
        return f"{which}{more} asked for a pause of {seen.throttled_seconds:.1f} s (a quota for this client)"

    def status(self, alias: str, now: float) -> ClusterStatus:
        """Return what an operator is shown."""
        up = self.up(now)
        heard_at = _latest(seen.answered_at for seen in self._brokers.values())
        silent = self.silent(now)
        if up is False:
            told = [f"{alias} does not answer{_silence(self._brokers.values(), now)}"]
        else:
            told = [f"{alias} broker {node} does not answer{why}" for node, why in silent.items()]
            if leaderless := self.leaderless(now):
                more = f" and {len(leaderless) - 1:,} more partitions" if len(leaderless) > 1 else ""
                told.append(f"{alias} has no leader for {leaderless[0]}{more}")
        return ClusterStatus(
            alias,
            up,
            None if heard_at is None else round(now - heard_at, 3),
            "; ".join(told) or None,
            tuple(BrokerStatus(node, self._answers(node, silent)) for node in sorted(self._watched)),
        )

    def _answers(self, node: int, silent: Mapping[int, str]) -> bool | None:
        """Return whether a broker in use answers; None where it did not yet, and still has time to."""
        return False if node in silent else None if self.broker(node).answered_at is None else True


def _silence(brokers: Collection[BrokerSeen], now: float) -> str:
    """Return for how long nothing was heard of any, and the newest reason; one from before that explains nothing."""
    heard_at = _latest(seen.answered_at for seen in brokers)
    text = "" if heard_at is None else f", last heard {format_age(now - heard_at)} ago"
    failed_at = _latest(seen.failed_at for seen in brokers)
    if failed_at is None or (heard_at is not None and failed_at < heard_at):
        return text
    why = next(seen.why for seen in brokers if seen.failed_at == failed_at)
    return f"{text}: {why}"


def _latest(moments: Iterable[float | None]) -> float | None:
    return max((moment for moment in moments if moment is not None), default=None)
