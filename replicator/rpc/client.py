"""A synchronous client of a daemon's control service, for the command line."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, cast

import grpc

from replicator.errors import DaemonUnreachable, NotAvailable, ReplicatorError, TimedOut, UsageError
from replicator.model.events import Desired, Event
from replicator.model.groups import GroupStatus
from replicator.model.resolution import Order, Resolution
from replicator.model.status import DaemonStatus
from replicator.model.translation import OffsetQuestion, Translation
from replicator.model.units import format_address, is_loopback, parse_address
from replicator.rpc import faults
from replicator.rpc.convert import (
    desired_to_wire,
    event_from_wire,
    group_from_wire,
    question_to_wire,
    resolution_from_wire,
    status_from_wire,
    translation_from_wire,
)
from replicator.rpc.v1 import control_pb2 as pb
from replicator.rpc.v1 import control_pb2_grpc

_ANSWER_BYTES_MAX = 64 << 20
_RESOLVE_SECONDS_MAX = 300.0
QUESTIONS_PER_CALL = 2000
"""About offsets: with topic names of 249 characters this is half a request."""

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", _ANSWER_BYTES_MAX),
    # A proxy of the environment is for the web; it would hide a daemon on this machine or in this network.
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a daemon answers and how it is trusted.

    On loopback without any TLS file the connection is plain text; everything else is TLS, with the system's
    roots unless `ca_file` is given.
    """

    address: str
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout_seconds: float = 10.0


class ControlClient:
    """The control service as plain calls. Close it, or use it in a `with` block.

    Every call may raise:
        DaemonUnreachable: Nothing answers, or the TLS handshake failed.
        TimedOut: No answer within the endpoint's time-out.
        ReplicatorError: Whatever the daemon raised, as the same class.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel = _channel(endpoint)
        self._stub = control_pb2_grpc.ControlStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def flows(self) -> DaemonStatus:
        """Return a snapshot whose flows have no mirrors."""
        try:
            answer = self._stub.ListFlows(pb.ListFlowsRequest(), timeout=self._endpoint.timeout_seconds)
        except grpc.RpcError as error:
            self._raise(error)
        return status_from_wire(answer.status)

    def status(self, flow: str | None = None) -> DaemonStatus:
        """Return a snapshot of all flows, or of one."""
        try:
            answer = self._stub.GetStatus(pb.GetStatusRequest(flow=flow or ""), timeout=self._endpoint.timeout_seconds)
        except grpc.RpcError as error:
            self._raise(error)
        return status_from_wire(answer.status)

    def watch(self, interval_seconds: float, flow: str | None = None) -> Iterator[DaemonStatus]:
        """Yield a snapshot per interval until the daemon ends or the caller stops reading."""
        request = pb.WatchStatusRequest(flow=flow or "", interval_seconds=interval_seconds)
        try:
            for answer in self._stub.WatchStatus(request):
                yield status_from_wire(answer.status)
        except grpc.RpcError as error:
            self._raise(error)

    def set_desired(
        self,
        flow: str,
        desired: Desired,
        *,
        actor: str,
        reason: str,
        expected_epoch: int | None = None,
        request_id: str | None = None,
    ) -> bool:
        """Pause or resume a flow; return whether that changed anything.

        `expected_epoch` refuses the change if the flow is at another one by now. The same `request_id` twice
        does nothing the second time; by default each call has its own.
        """
        request = pb.SetDesiredRequest(
            flow=flow,
            desired=desired_to_wire(desired),
            actor=actor,
            reason=reason,
            expected_epoch=expected_epoch,
            request_id=request_id or uuid.uuid4().hex,
        )
        try:
            return self._stub.SetDesired(request, timeout=self._endpoint.timeout_seconds).changed
        except grpc.RpcError as error:
            self._raise(error)

    def resolve(self, flow: str, order: Order, *, dry_run: bool, expected_epoch: int | None = None) -> Resolution:
        """Resolve the fault of a mirror, or only tell what that would do; no reasons: nothing stands still."""
        request = pb.ResolveMirrorRequest(
            flow=flow,
            topic=order.topic,
            how=order.how,
            partitions=order.partitions,
            dry_run=dry_run,
            digest=order.digest,
            actor=order.actor,
            reason=order.why,
            expected_epoch=expected_epoch,
        )
        try:
            # Records are compared for `accept`, and set aside for `skip`: longer than a look at the daemon's memory.
            answer = self._stub.ResolveMirror(request, timeout=_RESOLVE_SECONDS_MAX)
        except grpc.RpcError as error:
            self._raise(error)
        return resolution_from_wire(answer)

    def events(self, flow: str, topic: str | None = None, limit: int = 50) -> tuple[Event, ...]:
        """Return recent events of a flow, or of one of its source topics, newest last."""
        request = pb.EventsRequest(flow=flow, topic=topic, limit=limit)
        try:
            answer = self._stub.Events(request, timeout=self._endpoint.timeout_seconds)
        except grpc.RpcError as error:
            self._raise(error)
        return tuple(event_from_wire(event) for event in answer.events)

    def groups(self, flow: str) -> tuple[tuple[GroupStatus, ...], str | None]:
        """Return how far the consumer groups of a flow have followed, without partitions; what holds all back."""
        try:
            answer = self._stub.ListGroups(pb.ListGroupsRequest(flow=flow), timeout=self._endpoint.timeout_seconds)
        except grpc.RpcError as error:
            self._raise(error)
        detail = answer.detail if answer.HasField("detail") else None
        return tuple(group_from_wire(group) for group in answer.groups), detail

    def group(self, flow: str, group: str) -> GroupStatus:
        """Return how far one consumer group has followed, with its partitions."""
        request = pb.DescribeGroupRequest(flow=flow, group=group)
        try:
            answer = self._stub.DescribeGroup(request, timeout=self._endpoint.timeout_seconds)
        except grpc.RpcError as error:
            self._raise(error)
        return group_from_wire(answer.group)

    def translate(
        self, flow: str, questions: Iterable[OffsetQuestion], *, reverse: bool = False
    ) -> tuple[Translation, ...]:
        """Return where source offsets stand on the target, or with `reverse` target offsets on the source.

        One answer per question, in their order; any number of them. With `reverse` the topics are the target's.
        """
        found: list[Translation] = []
        left = iter(questions)
        while some := list(islice(left, QUESTIONS_PER_CALL)):
            request = pb.TranslateOffsetsRequest(
                flow=flow, reverse=reverse, questions=[question_to_wire(question) for question in some]
            )
            found += self._translate(request)
        return tuple(found)

    def translate_group(self, flow: str, group: str, *, reverse: bool = False) -> tuple[Translation, ...]:
        """Return the same for all that a consumer group has committed of the flow's topics.

        It is read on the source, or with `reverse` on the target.
        """
        return self._translate(pb.TranslateOffsetsRequest(flow=flow, reverse=reverse, group=group))

    def _translate(self, request: pb.TranslateOffsetsRequest) -> tuple[Translation, ...]:
        try:
            answer = self._stub.TranslateOffsets(request, timeout=self._endpoint.timeout_seconds)
        except grpc.RpcError as error:
            self._raise(error)
        return tuple(translation_from_wire(each) for each in answer.translations)

    def _raise(self, error: grpc.RpcError) -> NoReturn:
        """Raise what the daemon raised, or what the failed call means."""
        # Every error a stub raises is a call too; the types do not say so.
        call = cast("grpc.Call", error)
        for key, value in call.trailing_metadata() or ():
            if key == faults.METADATA_KEY and isinstance(value, bytes):
                raise faults.from_wire(value) from error
        raise self._meaning(call) from error

    def _meaning(self, call: grpc.Call) -> ReplicatorError:
        address = self._endpoint.address
        details = call.details() or ""
        match call.code():
            case grpc.StatusCode.UNAVAILABLE:
                return DaemonUnreachable(
                    f"no daemon answers at {address}",
                    why=details,
                    next_step="start one with `replicator run FILE`, or check --address and --tls-ca",
                )
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return TimedOut(
                    f"the daemon at {address} did not answer within {self._endpoint.timeout_seconds:g} s",
                    next_step="look at the daemon's log",
                )
            case grpc.StatusCode.UNIMPLEMENTED:
                return NotAvailable(
                    f"the daemon at {address} does not know this call",
                    why=details,
                    next_step="upgrade the daemon",
                )
            case code:
                return ReplicatorError(f"the call to {address} failed", why=f"{code.name}: {details}")


def _channel(endpoint: Endpoint) -> grpc.Channel:
    try:
        address = parse_address(endpoint.address)
    except ValueError as error:
        raise UsageError(f"the daemon's address: {error}") from error
    target = format_address(address)
    files = (endpoint.ca_file, endpoint.cert_file, endpoint.key_file)
    if is_loopback(address[0]) and not any(files):
        return grpc.insecure_channel(target, options=_OPTIONS)
    if (endpoint.cert_file is None) != (endpoint.key_file is None):
        raise UsageError(
            "a client certificate needs its key, and a key its certificate",
            next_step="give both --tls-cert and --tls-key",
        )
    try:
        roots, chain, key = (path.read_bytes() if path else None for path in files)
    except OSError as error:
        raise UsageError("a TLS file cannot be read", why=str(error)) from error
    credentials = grpc.ssl_channel_credentials(roots, private_key=key, certificate_chain=chain)
    return grpc.secure_channel(target, credentials, options=_OPTIONS)
