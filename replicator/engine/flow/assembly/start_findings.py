"""What the start of a flow found, and an operator should know for as long as the flow runs.

That is a wrong cluster behind an address, and damage done by earlier versions. Such damage is repaired here as far as
the records allow. A check that fails does not stop the flow; the next start repeats it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.switch.repairs.high_cuts import lower_high_cuts
from replicator.engine.switch.repairs.lost_roles import give_back_role
from replicator.engine.switch.repairs.mix_ups import undo_mix_ups
from replicator.errors import ReplicatorError, WrongCluster
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from replicator.engine.switch.context import SwitchContext

log = get_logger(__name__)


class StartFindings:
    """The findings of one flow.

    Args:
        flow: Its name.

    Attributes:
        wrong_cluster: A text saying that a different cluster responds than before; None while the right one does.
    """

    def __init__(self, flow: str) -> None:
        self.wrong_cluster: str | None = None
        self._flow = flow
        self._kept: dict[str, str] = {}

    def texts(self) -> list[str]:
        """Return what was found; a wrong cluster comes first."""
        return [*([self.wrong_cluster] if self.wrong_cluster is not None else []), *self._kept.values()]

    def met(self, error: ReplicatorError) -> str:
        """Note an error that the flow waits to pass; return its text with the next step, for status to show."""
        text = f"{error}; next: {error.next_step}" if error.next_step else str(error)
        self.wrong_cluster = text if isinstance(error, WrongCluster) else None
        return text

    async def check_role(self, context: SwitchContext) -> None:
        """Make a flow stand by again if its role was taken; whatever copies to an open side is refused anyway."""
        await self._check(give_back_role, context, "not known whether the flow's role was taken")

    async def check_switches(self, context: SwitchContext) -> None:
        """Undo what switches of another flow did here, and cuts that are too high; copying does not depend on it."""
        await self._check(undo_mix_ups, context, "not known whether switches of another flow were carried out here")
        await self._check(lower_high_cuts, context, "not known whether an earlier version cut too high")

    async def _check(
        self, check: Callable[[SwitchContext], Awaitable[str | None]], context: SwitchContext, unknown: str
    ) -> None:
        try:
            found = await check(context)
        except ReplicatorError as error:
            log.warning(unknown, flow=self._flow, why=str(error))
            return
        self._kept.pop(unknown, None)
        if found is not None:
            self._kept[unknown] = found
