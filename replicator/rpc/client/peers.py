"""A daemon's client of the flow's other daemons: asks them about the partitions they copy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import grpc
import grpc.aio

from replicator.errors import Conflict, UsageError
from replicator.model.names import STATE_TOPIC
from replicator.model.operations.translation import OffsetQuestion, Translation
from replicator.model.status.snapshots import FlowStatus
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.convert import faults
from replicator.rpc.convert.values import question_to_wire, status_from_wire, translation_from_wire
from replicator.rpc.v1 import control_pb2 as pb
from replicator.rpc.v1 import control_pb2_grpc

_CHANNELS_MAX = 64
_STATUS_SECONDS = 2.0
_TRANSLATE_SECONDS = 20.0


class FlowReference(NamedTuple):
    """The flow to ask another daemon about; that daemon may run a different flow of the same name."""

    name: str
    uid: str


class Peers:
    """Connections to other daemons, opened on demand.

    Args:
        how: How they are trusted; the address is filled in.

    Every call may raise:
        DaemonUnreachable: It does not answer.
        TimedOut: It does not answer in time.
        ReplicatorError: Whatever it raised.
    """

    def __init__(self, how: Endpoint) -> None:
        self._how = how
        self._channels: OrderedDict[str, grpc.aio.Channel] = OrderedDict()

    async def status(self, address: str, flow: FlowReference) -> FlowStatus:
        """Return what that daemon alone knows about a flow."""
        try:
            request = pb.GetStatusRequest(flow=flow.name, alone=True, flow_uid=flow.uid)
            answer = await (await self._stub(address)).GetStatus(request, timeout=_STATUS_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise faults.meaning(error, address, _STATUS_SECONDS) from error
        found = status_from_wire(answer.status).flows[0]
        if found.flow_uid != flow.uid:  # an older daemon ignores the uid in the request
            raise Conflict(f"{address} runs another flow named {flow.name!r} (uid {found.flow_uid})")
        return found

    async def translate(
        self, address: str, flow: FlowReference, questions: Sequence[OffsetQuestion], *, reverse: bool
    ) -> Sequence[Translation]:
        """Return that daemon's own answers to questions about offsets, in order."""
        request = pb.TranslateOffsetsRequest(
            flow=flow.name,
            reverse=reverse,
            alone=True,
            questions=[question_to_wire(each) for each in questions],
            flow_uid=flow.uid,
        )
        try:
            answer = await (await self._stub(address)).TranslateOffsets(request, timeout=_TRANSLATE_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise faults.meaning(error, address, _TRANSLATE_SECONDS) from error
        return [translation_from_wire(each) for each in answer.translations]

    async def close(self) -> None:
        """Close every connection."""
        while self._channels:
            await self._channels.popitem()[1].close()

    async def _stub(self, address: str) -> control_pb2_grpc.ControlAsyncStub:
        if not address:
            raise UsageError(
                "its address is not known",
                why=f"its sign of life is no longer on {STATE_TOPIC}, or it is an older version",
            )
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = replace(self._how, address=address).channel()
            if len(self._channels) > _CHANNELS_MAX:
                await self._channels.popitem(last=False)[1].close()
        return cast("control_pb2_grpc.ControlAsyncStub", control_pb2_grpc.ControlStub(channel))
