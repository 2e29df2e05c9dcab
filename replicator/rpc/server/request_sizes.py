"""How large a request may be, by its method: requests are read before the caller's rights are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from replicator.errors import UsageError

REQUEST_BYTES_MAX = 1 << 20
"""For any method; above this, gRPC itself refuses."""
SMALL_REQUEST_BYTES_MAX = 16 << 10
"""For methods that take a few names and a reason."""
_LONG = frozenset(
    {
        "/replicator.rpc.v1.Control/DescribeGroup",  # a group's name has up to 32,767 bytes
        "/replicator.rpc.v1.Control/TranslateOffsets",
        "/replicator.rpc.v1.Control/ResolveMirror",
        "/replicator.rpc.v1.Control/StartSwitch",
        "/replicator.rpc.v1.Lease/Renew",
        "/replicator.rpc.v1.Lease/Acquire",
        "/replicator.rpc.v1.Lease/HandOff",
        "/replicator.rpc.v1.Lease/Release",
    }
)
"""Methods that take lists, or names of any length."""

Deserializer = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class NotRead:
    """Takes the place of a refused request, so that the caller gets the reason in three parts.

    An exception would keep the frames that raise it, which keep the request: a reference cycle.
    """

    what: str
    why: str
    next_step: str

    def error(self) -> UsageError:
        """Return the error for the caller."""
        return UsageError(self.what, why=self.why, next_step=self.next_step)


def bytes_max(method: str) -> int:
    """Return the largest request of a method, given its full name (`/package.Service/Method`)."""
    return REQUEST_BYTES_MAX if method in _LONG else SMALL_REQUEST_BYTES_MAX


def reader(method: str, deserializer: Deserializer | None) -> Deserializer:
    """Return a reader for a method's requests; it returns a `NotRead` for one that is too large or cannot be read.

    gRPC would take an error of its deserializer for one of the method, and log the stack each time.
    """
    limit = bytes_max(method)

    def read(raw: bytes) -> Any:
        if len(raw) > limit:
            return NotRead(
                f"a request of {len(raw):,} bytes is not read",
                why=f"a request of {method.rpartition('/')[2]} has at most {limit:,} bytes",
                next_step="give fewer or shorter names, or a shorter reason",
            )
        try:
            return raw if deserializer is None else deserializer(raw)
        except DecodeError as error:
            return NotRead(
                "the request cannot be read",
                why=str(error),
                next_step="call with the messages of this version: gRPC reflection shows them",
            )

    return read
