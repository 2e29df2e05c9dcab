"""Who makes a call over gRPC: what its context shows, as a value."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from replicator.control.caller import Caller, KnownBy
from replicator.control.order_token import METADATA_KEY
from replicator.core.acl.certificate_names import names_in_pem

if TYPE_CHECKING:
    import grpc.aio

    from replicator.model.access_rules import Identity

    Context = grpc.aio.ServicerContext[Any, Any]

_CERTIFICATE = "x509_pem_cert"


class Callers:
    """The callers of one server.

    Attributes:
        known_by: How it identifies them.
    """

    def __init__(self, known_by: KnownBy) -> None:
        self.known_by = known_by

    def of(self, context: Context, claimed: str = "") -> Caller:
        """Return who makes a call.

        Args:
            context: The call.
            claimed: Who the caller claims to be.
        """
        left_seconds: float | None = context.time_remaining()  # None without a deadline; its stubs do not say so
        return Caller(
            self.known_by,
            str(context.peer()),
            _names(context) if self.known_by is KnownBy.CERTIFICATE else (),
            _token(context) if self.known_by is KnownBy.TOKEN else "",
            claimed,
            None if left_seconds is None else time.monotonic() + left_seconds,
        )


def _names(context: Context) -> tuple[Identity, ...]:
    """Return the names in the caller's certificate, each with its kind."""
    pem = next(iter((context.auth_context() or {}).get(_CERTIFICATE, ())), None)
    return names_in_pem(pem) if pem is not None else ()


def _token(context: Context) -> str | bytes:
    return next((value for key, value in context.invocation_metadata() or () if key == METADATA_KEY), "")
