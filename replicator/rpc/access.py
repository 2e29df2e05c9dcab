"""Who calls, and whether they may: asked before anything is done or told.

With mutual TLS the names in the certificate count, and the rules of the flow file decide; nobody may do what none of
them allows. With TLS but no client authority nobody can be told from anybody else: reading is all there is. Plain text
is served on loopback only, where whoever can log in to the machine may do everything.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicator.core.access import allowed
from replicator.errors import PreflightFailed
from replicator.model.access import AccessRole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import grpc.aio

    from replicator.model.access import AccessRule
    from replicator.model.status import DaemonStatus


class Access:
    """What the callers of one server may do.

    Attributes:
        rules: Those of the flow file; replaced when it is read again.

    Args:
        rules: Those of the flow file.
        mutual_tls: Whether every caller has shown a certificate.
        may_change: Whether callers without one may change anything.
    """

    def __init__(self, rules: Sequence[AccessRule] = (), *, mutual_tls: bool, may_change: bool) -> None:
        self.rules = tuple(rules)
        self.mutual_tls = mutual_tls
        self._may_change = may_change

    def check(
        self, context: grpc.aio.ServicerContext[Any, Any], flow: str | None, *roles: AccessRole, claimed: str = ""
    ) -> str:
        """Return who calls: the certificate's word where there is one, else the caller's own.

        Args:
            context: The call.
            flow: What it is about; None for all flows.
            roles: Any of them is enough.
            claimed: Who the caller says to be.

        Raises:
            PreflightFailed: The caller cannot be identified, or may not do this.
        """
        if not self.mutual_tls:
            if roles != (AccessRole.OBSERVE,) and not self._may_change:
                raise PreflightFailed(
                    "this daemon takes no orders from callers it cannot identify",
                    next_step="set daemon.tls.ca_file and call with a client certificate",
                )
            return claimed or "unknown"
        names = identities(context)
        if not names:
            raise PreflightFailed("the client certificate names nobody", next_step="use one with a SAN")
        if not any(allowed(self.rules, names, role, flow) for role in roles):
            about = f"flow {flow!r}" if flow is not None else "all flows"
            raise PreflightFailed(
                f"{names[0]} may not do this with {about}",
                why=f"it takes the role {' or '.join(roles)}, and no rule gives it",
                next_step=f"add to daemon.access: {{identity: {names[0]!r}, roles: [{roles[0]}]}}, and reload (SIGHUP)",
            )
        return names[0]

    def visible(self, context: grpc.aio.ServicerContext[Any, Any], status: DaemonStatus) -> DaemonStatus:
        """Return a status with the flows that the caller may look at.

        Raises:
            PreflightFailed: There is none of them.
        """
        if not self.mutual_tls:
            return status
        names = identities(context)
        seen = tuple(flow for flow in status.flows if allowed(self.rules, names, AccessRole.OBSERVE, flow.flow))
        if not seen:
            self.check(context, None, AccessRole.OBSERVE)
        return replace(status, flows=seen)


def identities(context: grpc.aio.ServicerContext[Any, Any]) -> tuple[str, ...]:
    """Return the names in the caller's certificate."""
    found: Iterable[bytes] = context.peer_identities() or ()
    return tuple(name.decode(errors="replace") for name in found)
