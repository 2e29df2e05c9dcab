"""Keeps one flow running: if it ends by itself, that is logged and counted, and it is started again after a pause.

Other flows are not affected.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.aio.tasks import within
from replicator.backoff import Backoff
from replicator.engine.flow.ending import first_cause
from replicator.errors import BugError, FlowMoves, ReplicatorError
from replicator.obs import bugs
from replicator.obs.logs import get_logger, in_flow

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.engine.flow.runner import FlowRunner

_PAUSE_SECONDS = (1.0, 60.0)
_CALM_SECONDS = 300.0
"""If a flow has run for this long, its next failure has nothing to do with the previous one."""
_MOVES_AT_ONCE_MAX = 3
"""How often a flow starts again without a pause because it has another source."""
_STOP_SECONDS = 6.0
_GRACE_SECONDS = 0.5
"""The flow's own bound is shorter by this: it can still report what it leaves unfinished."""
_CANCEL_SECONDS = 0.5
_CLOSE_SECONDS = 0.5
"""Stopping, cancelling and closing together stay below the time after which SIGKILL follows SIGTERM."""

log = get_logger(__name__)


class FlowSupervisor:
    """Runs one flow of a daemon until it is stopped.

    Args:
        name: Name of the flow.
        make: Returns a runner that is not started yet; called for every start with the cluster (alias and id) that the
            flow copies from if it was moved to another source than its file says, else None.

    Attributes:
        runner: The running flow, or the one that ended last.
    """

    def __init__(self, name: str, make: Callable[[tuple[str, str] | None], FlowRunner]) -> None:
        self.runner = make(None)
        self._name = name
        self._source: tuple[str, str] | None = None
        self._moves = 0
        self._make = make
        self._backoff = Backoff(*_PAUSE_SECONDS)
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start; called once."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name=self._name, context=in_flow(self._name))

    def end_over(self, bug: BaseException) -> None:
        """End the flow because of an error in its callbacks or stray tasks; it is started again as after any other."""
        self.runner.end_over(bug)

    async def stop(self) -> None:
        """Stop the flow for good, within bounded time; concurrent calls wait for the same end."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(), context=in_flow(self._name))
        await asyncio.shield(self._ending)

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            began = now()
            ended = await self._until_ended()
            if now() - began >= _CALM_SECONDS:
                self._backoff.reset()
            moves = first_cause(ended)
            if isinstance(moves, FlowMoves) and self._moves < _MOVES_AT_ONCE_MAX:
                self._note_move(moves)
            else:
                self._moves = 0
                await self._pause(ended)
            await within(_CLOSE_SECONDS, self.runner.close(), f"the connections of flow {self._name}")
            before, self.runner = self.runner, await self._made()
            self.runner.follows(before)
            bugs.note_restart(self._name)

    async def _pause(self, ended: BaseException) -> None:
        seconds = self._backoff.next_seconds()
        self._report(ended, seconds)
        await asyncio.sleep(seconds)

    def _note_move(self, moves: FlowMoves) -> None:
        """Note which cluster the flow copies from by now, to start again with it at once."""
        self._moves += 1
        log.warning("flow starts again", flow=self._name, why=str(moves), next=moves.next_step)
        if moves.source is not None:
            self._source = moves.source

    async def _made(self) -> FlowRunner:
        """Return the next runner; if the file does not name the flow's source, one that waits for that."""
        try:
            return self._make(self._source)
        except ReplicatorError as error:
            await self._pause(self.runner.ended_over(error))
            return self._make(None)

    async def _until_ended(self) -> BaseException:
        """Run the flow; return what ended it."""
        try:
            await self.runner.run()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self.runner.ended_over(BugError("the flow was cancelled from within"))
        except Exception as error:  # noqa: BLE001 - any kind: it concerns only this flow
            return self.runner.ended_over(error)
        return self.runner.ended_over(BugError("the flow ended without a reason"))

    def _report(self, ended: BaseException, pause_seconds: float) -> None:
        cause = first_cause(ended)
        again = round(pause_seconds, 1)
        if isinstance(cause, ReplicatorError) and not isinstance(cause, BugError):
            log.error("flow stopped", flow=self._name, why=str(cause), next=cause.next_step, again_in_seconds=again)
        else:
            bugs.note(ended, "flow stopped by a bug", flow=self._name, again_in_seconds=again)

    async def _end(self) -> None:
        runner, task = self.runner, self._task
        if task is not None and not task.done():
            if runner.ended_because is None:
                work = runner.stop(_STOP_SECONDS - _GRACE_SECONDS)
                drained = await within(_STOP_SECONDS, work, f"the work of flow {self._name}")
                if not drained:
                    log.warning(
                        "not everything was acknowledged in time; the next start reads the log", flow=self._name
                    )
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
        await within(_CLOSE_SECONDS, self.runner.close(), f"the connections of flow {self._name}")
