"""What stands around the parts of a daemon that copy: its clusters' settings, its shard, and what others tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.state import records as state
from replicator.model.security import ClusterSpec
from replicator.state_pb import state_pb2 as pb
from tests.copy_world.rules import REQUEST_SECONDS
from tests.copy_world.source_log import FLOW_PRODUCER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.engine.work.shards import Shard

_SOURCE, _TARGET = (
    ClusterSpec(alias, ((alias, 1),), request_timeout_seconds=REQUEST_SECONDS, doubt_margin_seconds=REQUEST_SECONDS)
    for alias in ("source", "target")
)
SIDES = {"source": _SOURCE, "target": _TARGET}


class NeverAlone:
    """Other daemons may always be there."""

    def is_known(self) -> bool:
        """See `producer_state.Others`."""
        return True

    async def is_alone(self) -> bool:
        """See `producer_state.Others`."""
        return False


class FlowsOfSource:
    """What is recorded on the source: that one flow writes to it."""

    async def read(self) -> Mapping[bytes, bytes]:
        """See `SourceState.read`."""
        record = pb.WriterRecord(producer_id=FLOW_PRODUCER)
        return {state.writer_key("another"): record.SerializeToString()}


class OneShard:
    """`Shards` with one shard, whose claim a history works."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    def of(self, _where: object) -> Shard:
        """See `Shards.of`."""
        return self._shard
