"""Our errors across the wire: the same class, the same three parts and the same exit code on the other side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from replicator import errors
from replicator.model.text import printable
from replicator.rpc.v1 import control_pb2 as pb

METADATA_KEY = "replicator-error-bin"
_MORE = "…"
_TEXT_BYTES_MAX = 1000
_PROBLEM_BYTES_MAX = 700
_PROBLEMS_MAX = 5
_DETAILS_BYTES_MAX = 300
"""Both sides limit metadata to 8 KiB by default; three texts, five problems and the details stay below that."""

_STATUS: tuple[tuple[type[errors.ReplicatorError], grpc.StatusCode], ...] = (
    (errors.UsageError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.ConfigError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.AccessDenied, grpc.StatusCode.PERMISSION_DENIED),
    (errors.PreflightFailed, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Conflict, grpc.StatusCode.ABORTED),
    (errors.TimedOut, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.NotAvailable, grpc.StatusCode.UNIMPLEMENTED),
    (errors.BugError, grpc.StatusCode.INTERNAL),
)

_BY_EXIT_CODE: dict[int, type[errors.ReplicatorError]] = {
    2: errors.UsageError,
    3: errors.PreflightFailed,
    4: errors.Conflict,
    5: errors.TimedOut,
    78: errors.ConfigError,
}
"""The nearest class we know for an error class of a newer daemon."""


def status_code(error: errors.ReplicatorError) -> grpc.StatusCode:
    """Return the gRPC status that callers other than ours understand."""
    return next((code for kind, code in _STATUS if isinstance(error, kind)), grpc.StatusCode.UNKNOWN)


def to_wire(error: errors.ReplicatorError) -> bytes:
    """Return the serialised detail, with long texts cut."""
    detail = pb.ErrorDetail(
        kind=type(error).__name__,
        what=_cut(error.what),
        why=_cut(error.why),
        next_step=_cut(error.next_step),
        exit_code=error.exit_code,
    )
    if isinstance(error, errors.ConfigError):
        detail.problems.extend(_cut(problem, _PROBLEM_BYTES_MAX) for problem in error.problems[:_PROBLEMS_MAX])
    if isinstance(error, errors.HeldElsewhere):
        detail.address = error.address
    if isinstance(error, errors.KafkaError):
        detail.cluster = error.cluster
        detail.retryable = error.retryable
    if isinstance(error, errors.BrokerRefused):
        detail.code = error.code
        detail.api = error.api
    return detail.SerializeToString()


def from_wire(data: bytes) -> errors.ReplicatorError:
    """Return the error of a detail; an unknown class becomes the nearest one by exit code.

    Whatever listens at a daemon's port may send anything: what is not a detail becomes an error, too.
    """
    try:
        detail = pb.ErrorDetail.FromString(data)
    except DecodeError as error:
        return errors.ReplicatorError(
            "the call failed, for a reason that cannot be read",
            why=str(error),
            next_step="check that a replicator of this version listens at that address",
        )
    kind = _KINDS.get(detail.kind) or _BY_EXIT_CODE.get(detail.exit_code, errors.ReplicatorError)
    what = detail.what
    fields: dict[str, Any] = {"why": detail.why, "next_step": detail.next_step}
    if kind is errors.ConfigError:
        fields["problems"] = tuple(detail.problems)
    if issubclass(kind, errors.HeldElsewhere):
        fields["address"] = detail.address
    if issubclass(kind, errors.KafkaError):
        fields["cluster"] = detail.cluster
        if kind not in {errors.ConnectionFailed, errors.NotOurs}:  # always retryable, no argument
            fields["retryable"] = detail.retryable
    if issubclass(kind, errors.BrokerRefused):
        fields |= {"code": detail.code, "api": detail.api}
    return kind(what, **fields)


def details_of(error: errors.ReplicatorError) -> str:
    """Return the text of an error for callers other than ours."""
    return _cut(error.what, _DETAILS_BYTES_MAX)


def _cut(text: str, bytes_max: int = _TEXT_BYTES_MAX) -> str:
    """Return a text, shortened and without terminal control sequences: it may quote a caller's words."""
    kept = printable(text[:bytes_max], lines=True).encode()
    if len(text) <= bytes_max and len(kept) <= bytes_max:
        return kept.decode()
    return kept[: bytes_max - len(_MORE.encode())].decode(errors="ignore") + _MORE


def _tree(kind: type[errors.ReplicatorError]) -> Iterator[type[errors.ReplicatorError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


_KINDS = {kind.__name__: kind for kind in _tree(errors.ReplicatorError) if kind.__module__ == errors.__name__}


def meaning(call: grpc.Call | grpc.aio.AioRpcError, address: str, timeout_seconds: float) -> errors.ReplicatorError:
    """Return what the daemon raised, or what a failed call means."""
    for key, value in call.trailing_metadata() or ():
        if key == METADATA_KEY and isinstance(value, bytes):
            return from_wire(value)
    details = call.details() or ""
    match call.code():
        case grpc.StatusCode.UNAVAILABLE:
            return errors.DaemonUnreachable(
                f"no daemon answers at {address}",
                why=details,
                next_step="start one with `replicator run FILE`, or check --address and --tls-ca",
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.TimedOut(
                f"the daemon at {address} did not answer within {timeout_seconds:g} s",
                next_step="look at the daemon's log",
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            return errors.NotAvailable(
                f"the daemon at {address} does not know this call",
                why=details,
                next_step="upgrade the daemon",
            )
        case code:
            return errors.ReplicatorError(f"the call to {address} failed", why=f"{code.name}: {details}")
