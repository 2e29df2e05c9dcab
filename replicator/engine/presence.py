"""Which daemons run a flow: each says so on the state topic before it attaches anything, and goes on saying so.

A daemon without the claim may pass batches that the target guards. Its place is safe while the guard stands, and a
batch with old record times, which only the claim's holder may send, ends the guard. So the holder sends such a batch
only when it is alone, or when every place that others may have proven is too old to be used (`engine.pump`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.engine import state
from replicator.errors import ReplicatorError
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from replicator.core.claim import Timing
    from replicator.engine.state_log import StateLog

_FORGET_SECONDS = 600.0

log = get_logger(__name__)


class Presence:
    """One daemon's own announcement, and what it sees of others.

    Args:
        state_log: The state topic.
        flow_uid: The flow.
        me: This daemon's name, new with every start.
        timing: Of claims; the same times serve here.
        silence_seconds: How long after its last sign of life a daemon may still have an effect.
    """

    def __init__(self, state_log: StateLog, flow_uid: str, me: str, timing: Timing, silence_seconds: float) -> None:
        self._log = state_log
        self._uid = flow_uid
        self._me = me
        self._timing = timing
        self._silence_seconds = silence_seconds
        self._now = asyncio.get_running_loop().time
        self._others: dict[str, float] = {}
        self._renewal = 0
        self._valid_until = 0.0
        state_log.listen(self._on_record)
        for key in state_log.records:
            self._on_record(key)

    def _on_record(self, record_key: bytes) -> None:
        other = state.presence_of(record_key, self._uid)
        if other is None or other == self._me:
            return
        if record_key in self._log.records:
            self._others[other] = self._now()
        else:
            self._others.pop(other, None)

    def is_known(self) -> bool:
        """Return whether others surely see this daemon as present now."""
        return self._now() < self._valid_until

    async def is_alone(self) -> bool:
        """Return whether no other daemon that was present when this was called may still have an effect.

        Raises:
            KafkaError: The state topic cannot be read.
        """
        await self._log.read_to_end()
        now = self._now()
        return all(now - seen > self._silence_seconds for seen in self._others.values())

    async def announce(self) -> None:
        """Say that this daemon runs the flow.

        Raises:
            KafkaError: It could not be said.
        """
        began = self._now()
        self._renewal += 1
        record = pb.RenewalRecord(renewal=self._renewal)
        await self._log.append([state.put(state.presence_key(self._uid, self._me), record)])
        self._valid_until = began + self._timing.ttl_seconds - self._timing.margin_seconds

    async def run(self) -> None:
        """Go on saying so, until cancelled; forget those that fell silent long ago."""
        while True:
            await asyncio.sleep(self._timing.renew_every_seconds)
            try:
                await self.announce()
                now = self._now()
                gone = [name for name, seen in self._others.items() if now - seen > _FORGET_SECONDS]
                if gone:
                    await self._log.append([(state.presence_key(self._uid, name), None) for name in gone])
            except ReplicatorError as error:
                log.debug("presence not said", why=str(error))

    async def withdraw(self) -> None:
        """Say that this daemon has ended, with nothing outstanding.

        Raises:
            KafkaError: It could not be said; others wait out the silence.
        """
        self._valid_until = 0.0
        await self._log.append([(state.presence_key(self._uid, self._me), None)])
