"""Notices a cluster that does not respond, even if nothing is being copied.

A fetch or a produce shows at once that a broker is gone. But an idle flow sends its target no requests for minutes. So
each broker in use that has not responded to anything for a few seconds is asked for its API versions, which costs it
nothing.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from replicator.aio.tasks import watched
from replicator.errors import KafkaError
from replicator.obs.logs import get_logger
from replicator.wire.cluster import Purpose
from replicator.wire.protocol.versions import negotiate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from replicator.model.names import TopicPartition
    from replicator.wire.cluster import Cluster

_PROBE_EVERY_SECONDS = 1.0
_QUIET_SECONDS = 2.0
_ANSWER_SECONDS_MAX = 5.0
_BROKERS_MAX = 3
"""How many brokers are asked if none is in use."""

log = get_logger(__name__)


class ClusterWatch:
    """Watches one cluster of one flow; the results are in `Cluster.seen`.

    Args:
        flow: The flow's name, for the log.
        cluster: The cluster.
        in_use: Returns the brokers that the flow needs now; none before it is up.
        lost: Called when a broker in use could not be asked: its partitions may have other leaders by now.
        leaderless: Returns the partitions that the flow needs and that have no leader now.
    """

    def __init__(
        self,
        flow: str,
        cluster: Cluster,
        in_use: Callable[[], Collection[int]],
        lost: Callable[[], None],
        leaderless: Callable[[], Collection[TopicPartition]] = tuple,
    ) -> None:
        self._flow = flow
        self._cluster = cluster
        self._in_use = in_use
        self._lost = lost
        self._leaderless = leaderless
        self._asking: dict[int, asyncio.Task[None]] = {}
        self._problem: str | None = None
        self._throttled = False
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                self.probe()
                await asyncio.sleep(_PROBE_EVERY_SECONDS)
        finally:
            for task in self._asking.values():
                task.cancel()

    def probe(self) -> None:
        """Ask each broker in use that was silent lately, unless it is already being asked."""
        cluster, now = self._cluster, self._loop.time()
        in_use, leaderless = set(self._in_use()), self._leaderless()
        nodes = [node for node in in_use if node in cluster.brokers]
        nodes = nodes or sorted(cluster.brokers)[:_BROKERS_MAX]
        if in_use.difference(cluster.brokers):
            self._lost()  # the cluster has dropped it: its partitions have another leader by now, or none
        # A cluster drops a dead broker after some seconds. If a partition has no leader without it, it stays watched.
        away = {node for where in leaderless for node in cluster.away(where) or ()}
        cluster.seen.watch(in_use | away | set(nodes), now, [str(where) for where in leaderless])
        for node in nodes:
            heard_at = cluster.seen.broker(node).heard_at()
            if node not in self._asking and (heard_at is None or now - heard_at >= _QUIET_SECONDS):
                task = self._asking[node] = watched(self._loop.create_task(self._ask(node)))
                task.add_done_callback(partial(self._asked, node))
        self._log_silence(cluster.seen.status(cluster.spec.alias, now).trouble)
        self._log_throttling(cluster.seen.throttled(cluster.spec.alias, now))

    def _asked(self, node: int, _: asyncio.Task[None]) -> None:
        self._asking.pop(node, None)

    async def _ask(self, node: int) -> None:
        seen, began = self._cluster.seen.broker(node), self._loop.time()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                connection = await self._cluster.connection(node, Purpose.CONTROL)
                await negotiate(connection)
        except KafkaError:  # `seen` has noted it by now
            self._lost()
        except TimeoutError:
            if (seen.answered_at or began) <= began:
                seen.failed(self._loop.time(), f"no answer within {_ANSWER_SECONDS_MAX:g} s")
            self._lost()

    def _log_silence(self, problem: str | None) -> None:
        """Log the beginning and the end of a silence, once each."""
        if (problem is None) is not (self._problem is None):
            if problem is not None:
                log.warning("a cluster does not answer", flow=self._flow, why=problem)
            else:
                log.info("a cluster answers again", flow=self._flow, cluster=self._cluster.spec.alias)
        self._problem = problem

    def _log_throttling(self, why: str | None) -> None:
        """Log the beginning and the end of throttling, once each."""
        throttled = why is not None
        if throttled is not self._throttled:
            self._throttled = throttled
            if throttled:
                log.warning("throttled by a cluster", flow=self._flow, why=why)
            else:
                log.info("no longer throttled by a cluster", flow=self._flow, cluster=self._cluster.spec.alias)
