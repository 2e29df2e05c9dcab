"""When brokers last answered, and what their silence means.

Everything that shows whether a cluster is reachable, or decides by it, reads this one record. Every response on every
connection feeds it, and it sends no requests; `engine.flow.background.cluster_watch` makes sure that brokers in use are
asked something now and then. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.model.status.snapshots import BrokerStatus, ClusterStatus
from replicator.model.units import format_age

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

SILENT_SECONDS = 10.0
"""A broker in use that has not answered for this long is called silent; other delays add less than 5 s."""
THROTTLED_SECONDS = 15.0
"""How long after its throttle time a broker is reported to throttle; under a quota the next one comes sooner."""
ANYWHERE = -1
"""The node of a bootstrap address, which may be any broker."""


@dataclass(eq=False, slots=True)
class BrokerSeen:
    """One broker, over all connections to it.

    Attributes:
        answered_at: When it last answered a request on an authenticated connection; None for never.
        failed_at: When it last could not be reached, or the connection was lost; None for never.
        why: The text about that failure, with the next step if there is one.
        throttled_until: The end of the last throttle time that it asked for.
        throttled_seconds: The length of that throttle time.
    """

    answered_at: float | None = None
    failed_at: float | None = None
    why: str = ""
    throttled_until: float = float("-inf")
    throttled_seconds: float = 0.0

    def answers(self, now: float) -> bool:
        """Return whether it has answered recently."""
        return self.answered_at is not None and now - self.answered_at < SILENT_SECONDS

    def failed(self, now: float, why: str) -> None:
        """Note that it could not be reached, refused the login, was lost, or did not answer."""
        self.failed_at, self.why = now, why

    def throttled(self, now: float, until: float) -> None:
        """Note that it asked to be sent nothing for a while: until then its silence means nothing."""
        self.throttled_until, self.throttled_seconds = until, until - now

    def pause_seconds(self, now: float) -> float:
        """Return the last throttle time that it asked for; 0 if that was over some time ago."""
        return self.throttled_seconds if now - self.throttled_until < THROTTLED_SECONDS else 0.0

    def heard_at(self) -> float | None:
        """Return the time from which its silence counts; None if it never answered."""
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
        """Forget all brokers but these and those in use: a cluster may report new ones forever."""
        for node in self._brokers.keys() - self._watched.keys() - {*nodes, ANYWHERE}:
            del self._brokers[node]

    def watch(self, nodes: Collection[int], now: float, leaderless: Collection[str] = ()) -> None:
        """Note which brokers are in use; each of them is asked something every few seconds from now on.

        A broker that the cluster does not list any more cannot be asked; it stays in use while its partitions have no
        other leader (`leaderless`).
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
        """Return whether any broker answers; None while that is unknown."""
        heard_at = _latest(seen.heard_at() for seen in self._brokers.values())
        if heard_at is not None:
            return now - heard_at < SILENT_SECONDS
        return None if _latest(seen.failed_at for seen in self._brokers.values()) is None else False

    def throttled(self, alias: str, now: float) -> str | None:
        """Return a text about brokers that throttle this client, or did a moment ago; None for none."""
        slow = {node: seen for node, seen in self._brokers.items() if now - seen.throttled_until < THROTTLED_SECONDS}
        if not slow:
            return None
        node, seen = max(slow.items(), key=lambda one: one[1].throttled_seconds)
        more = f" and {len(slow) - 1:,} more" if len(slow) > 1 else ""
        which = alias if node == ANYWHERE else f"{alias} broker {node}"
        return f"{which}{more} asked for a pause of {seen.throttled_seconds:.1f} s (a quota for this client)"

    def status(self, alias: str, now: float) -> ClusterStatus:
        """Return the status to show."""
        up = self.up(now)
        heard_at = _latest(seen.answered_at for seen in self._brokers.values())
        silent = self.silent(now)
        if up is False:
            texts = [f"{alias} does not answer{_silence(self._brokers.values(), now)}"]
        else:
            texts = [f"{alias} broker {node} does not answer{why}" for node, why in silent.items()]
            if leaderless := self.leaderless(now):
                more = f" and {len(leaderless) - 1:,} more partitions" if len(leaderless) > 1 else ""
                texts.append(f"{alias} has no leader for {leaderless[0]}{more}")
        return ClusterStatus(
            alias,
            up,
            None if heard_at is None else round(now - heard_at, 3),
            "; ".join(texts) or None,
            tuple(BrokerStatus(node, self._answers(node, silent)) for node in sorted(self._watched)),
        )

    def _answers(self, node: int, silent: Mapping[int, str]) -> bool | None:
        """Return whether a broker in use answers; None if it has not answered yet, but still has time to."""
        return False if node in silent else None if self.broker(node).answered_at is None else True


def _silence(brokers: Collection[BrokerSeen], now: float) -> str:
    """Return for how long none of them was heard, and the newest reason unless it is older than that."""
    heard_at = _latest(seen.answered_at for seen in brokers)
    text = "" if heard_at is None else f", last heard {format_age(now - heard_at)} ago"
    failed_at = _latest(seen.failed_at for seen in brokers)
    if failed_at is None or (heard_at is not None and failed_at < heard_at):
        return text
    why = next(seen.why for seen in brokers if seen.failed_at == failed_at)
    return f"{text}: {why}"


def _latest(moments: Iterable[float | None]) -> float | None:
    return max((moment for moment in moments if moment is not None), default=None)
