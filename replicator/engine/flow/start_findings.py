"""What the start of a flow found, and an operator should know of for as long as it runs.

Another cluster behind an address, and what earlier versions broke: that is made good here as far as it can be, each by
what the records tell, and a look that fails stops no flow. The next start looks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.switch.high_cuts import lower_high_cuts
from replicator.engine.switch.lost_roles import give_back_role
from replicator.engine.switch.mix_ups import undo_mix_ups
from replicator.errors import ReplicatorError, WrongCluster
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from replicator.engine.switch.context import Site

log = get_logger(__name__)


class StartFindings:
    """The findings of one flow.

    Args:
        flow: Its name.

    Attributes:
        wrong_cluster: That another cluster answers than before; None while the one that is meant does.
    """

    def __init__(self, flow: str) -> None:
        self.wrong_cluster: str | None = None
        self._flow = flow
        self._kept: dict[str, str] = {}

    def texts(self) -> list[str]:
        """Return what was found; that another cluster answers comes first."""
        return [*([self.wrong_cluster] if self.wrong_cluster is not None else []), *self._kept.values()]

    def met(self, error: ReplicatorError) -> str:
        """Take an error that the flow waits for; return it with what helps: its text is all that status keeps of it."""
        text = f"{error}; next: {error.next_step}" if error.next_step else str(error)
        self.wrong_cluster = text if isinstance(error, WrongCluster) else None
        return text

    async def look_at_role(self, site: Site) -> None:
        """Let the flow stand by again whose role was taken; what copies to an open side is refused anyway."""
        await self._look(give_back_role, site, "not known whether the flow's role was taken")

    async def look_at_switches(self, site: Site) -> None:
        """Undo what switches of another flow did here, and cuts that stand too high; copying needs none of it."""
        await self._look(undo_mix_ups, site, "not known whether switches of another flow were carried out here")
        await self._look(lower_high_cuts, site, "not known whether an earlier version cut too high")

    async def _look(self, look: Callable[[Site], Awaitable[str | None]], site: Site, unknown: str) -> None:
        try:
            found = await look(site)
        except ReplicatorError as error:
            log.warning(unknown, flow=self._flow, why=str(error))
            return
        self._kept.pop(unknown, None)
        if found is not None:
            self._kept[unknown] = found
