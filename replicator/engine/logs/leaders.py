"""Refreshes a cluster's metadata: when a request hit a stale leader, at a bounded pace, and now and then anyway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.aio.tasks import watched
from replicator.backoff import Backoff
from replicator.errors import KafkaError
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.wire.cluster import Cluster

_PAUSE_SECONDS = (0.1, 2.0)
_CALM_SECONDS = 2.0
"""After this long without a refresh, the next one is made at once."""
_ANSWER_SECONDS_MAX = 5.0
"""The broker that is asked may have just frozen: the leaders must not stay unknown for a whole request time-out."""

log = get_logger(__name__)


class LeaderWatch:
    """Refreshes the metadata of the topics in use when it is reported stale.

    Args:
        cluster: Whose metadata.
        topics: Returns the names in use, for each refresh.
        changed: Called after a refresh.
    """

    def __init__(self, cluster: Cluster, topics: Callable[[], set[str]], changed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._topics = topics
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._pauses = Backoff(*_PAUSE_SECONDS, free_failures=1)
        self._calming: asyncio.TimerHandle | None = None
        self._closed = False

    def stale(self) -> None:
        """Ask for a refresh; calls while one is under way share it. None is made after `close`."""
        if not self._closed and (self._task is None or self._task.done()):
            self._task = watched(asyncio.get_running_loop().create_task(self._refresh()))

    def close(self) -> None:
        """Stop for good."""
        self._closed = True
        for waiting in (self._task, self._calming):
            if waiting is not None:
                waiting.cancel()

    async def _refresh(self) -> None:
        await asyncio.sleep(self._pauses.next_seconds())
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                await self._cluster.refresh(self._topics())
        except (KafkaError, TimeoutError) as error:
            log.debug("no metadata", cluster=self._cluster.spec.alias, why=str(error) or "no answer in time")
            return
        self._changed()
        if self._calming is not None:
            self._calming.cancel()
        self._calming = asyncio.get_running_loop().call_later(_CALM_SECONDS, self._calm)

    def _calm(self) -> None:
        if self._task is None or self._task.done():
            self._pauses.reset()
