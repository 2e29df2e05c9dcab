"""The access service: reports how a daemon identifies the callers of orders."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc.aio

from replicator.control.access import Access
from replicator.rpc.server.callers import Callers
from replicator.rpc.server.crossing import errors_cross
from replicator.rpc.v1 import access_pb2 as pb
from replicator.rpc.v1 import access_pb2_grpc

if TYPE_CHECKING:
    from replicator.control.order_token import OrderToken

ACCESS_SERVICE = "replicator.rpc.v1.Access"


class AccessServicer(access_pb2_grpc.AccessServicer):
    """The one method of the service; anyone may ask: the path is not a secret, the content of the file is."""

    def __init__(self, access: Access, callers: Callers) -> None:
        self._access = access
        self._callers = callers
        self._renewing: asyncio.Task[None] | None = None

    async def Describe(  # noqa: N802  # gRPC's name
        self,
        request: pb.DescribeAccessRequest,
        context: grpc.aio.ServicerContext[pb.DescribeAccessRequest, pb.DescribeAccessResponse],
    ) -> pb.DescribeAccessResponse:
        """Report how callers are identified, and where the token is; a deleted token is written again."""
        del request
        async with errors_cross(context):
            token = self._access.token
            if token is None:
                return pb.DescribeAccessResponse(known_by=self._callers.known_by)
            if self._renewing is None or self._renewing.done():
                self._renewing = asyncio.create_task(asyncio.to_thread(_renew_if_gone, token))
            await asyncio.shield(self._renewing)  # many callers at once share one look at the disk
            return pb.DescribeAccessResponse(known_by=self._callers.known_by, token_file=str(token.path))


def _renew_if_gone(token: OrderToken) -> None:
    if not token.path.exists():
        token.renew()
