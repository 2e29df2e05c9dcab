"""Who calls, and whether they may: asked before anything is done or told.

With mutual TLS the names in the certificate count, and the rules of the flow file decide; nobody may do what none of
them allows. Plain text is served on loopback only: there everybody may look, and orders carry the token of the state
directory. With TLS but no client authority nobody can be told from anybody else: reading is all there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from replicator.control.refusals import Refusals, Why
from replicator.core.acl.access import granting, known, roles
from replicator.core.acl.certificate_names import names_in_pem
from replicator.core.status.health import not_ready_because
from replicator.errors import AccessDenied
from replicator.model.access import AccessRole, Identity, IdentityKind
from replicator.model.text import printable, said
from replicator.rpc.shares import Rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio

    from replicator.control.order_token import OrderToken
    from replicator.model.access import AccessRule
    from replicator.model.status import DaemonStatus

    Context = grpc.aio.ServicerContext[Any, Any]

_NAMES_SHOWN_MAX = 3
_NAME_CHARS_MAX = 120
_ORDERING = frozenset({AccessRole.OPERATE, AccessRole.FAILOVER})
_CERTIFICATE = "x509_pem_cert"


class Actor(NamedTuple):
    """Who gives an order.

    Attributes:
        name: The name in the certificate that gave the right, or what the caller calls itself.
        known_by: `certificate`, `token` (of the state directory), or `caller`, where only its word says so.
    """

    name: str
    known_by: str


class Access:
    """What the callers of one server may do.

    Attributes:
        rules: Those of the flow file; replaced when it is read again.
        refusals: What was refused.
        token: What orders carry on plain-text loopback; None where none are taken.

    Args:
        rules: Those of the flow file.
        mutual_tls: Whether every caller has shown a certificate.
        token: See above.
        refusals: See above.
    """

    def __init__(
        self,
        rules: Sequence[AccessRule] = (),
        *,
        mutual_tls: bool,
        token: OrderToken | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.refusals = refusals if refusals is not None else Refusals()
        self.token = token
        self._mutual_tls = mutual_tls

    @property
    def known_by(self) -> str:
        """What orders are known by: `certificate`, `token` or `nobody`."""
        if self._mutual_tls:
            return "certificate"
        return "token" if self.token is not None else "nobody"

    def check(self, context: Context, flow: str | None, *roles: AccessRole, claimed: str = "") -> Actor:
        """Return who calls, if they may do this.

        Args:
            context: The call.
            flow: What it is about; None for all flows.
            roles: Any of them is enough.
            claimed: Who the caller says to be.

        Raises:
            AccessDenied: The caller cannot be identified, or may not do this.
        """
        if not self._mutual_tls:
            if roles == (AccessRole.OBSERVE,):
                return Actor(said(claimed, _NAME_CHARS_MAX) or "unknown", "caller")
            self._check_token(context)
            return Actor(said(claimed, _NAME_CHARS_MAX) or "unknown", "token")
        names = identities(context)
        self._check_named(names)
        for role in roles:
            name = granting(self.rules, names, role, flow)
            if name is not None:
                return Actor(str(name), "certificate")
        about = f"flow {flow[:_NAME_CHARS_MAX]!r}" if flow is not None else "all flows"
        self.refusals.count(Why.ROLE)
        raise AccessDenied(
            f"{shown(names)} may not do this with {about}",
            why=f"it takes the role {' or '.join(roles)}, and no rule gives it{_untyped(names)}",
            next_step=f"add to daemon.access: {{identity: {_short(names[0])!r}, roles: [{roles[0]}]}},"
            " and reload (SIGHUP)",
        )

    def _check_token(self, context: Context) -> None:
        if self.token is None:
            self.refusals.count(Why.NOBODY)
            raise AccessDenied(
                "this daemon takes no orders from callers it cannot identify",
                next_step="set daemon.tls.ca_file and call with a client certificate",
            )
        if not self.token.is_in(context.invocation_metadata() or ()):
            self.refusals.count(Why.TOKEN)
            raise AccessDenied(
                "without TLS an order carries the token of the daemon's state directory",
                why=self.token.trouble or "this call has none, or another one",
                next_step=f"give it as the user who runs the daemon: the command line finds {self.token.path} then;"
                " or set daemon.tls.ca_file and daemon.access",
            )

    def _check_named(self, names: Sequence[Identity]) -> None:
        if not names:
            self.refusals.count(Why.CERTIFICATE)
            raise AccessDenied(
                "the client certificate names nobody",
                why="it has no alternative name and no common name, or none that is sound for its kind",
                next_step="use one with a SAN",
            )

    def check_known(self, context: Context) -> None:
        """Return if the caller has any role at all.

        Raises:
            AccessDenied: It has none.
        """
        if not self._mutual_tls:
            return
        names = identities(context)
        self._check_named(names)
        if known(self.rules, names) is None:
            self.refusals.count(Why.ROLE)
            raise AccessDenied(
                f"{shown(names)} may not look at anything here",
                why=f"no rule is about it{_untyped(names)}",
                next_step=f"add to daemon.access: {{identity: {_short(names[0])!r}, roles: [observe]}},"
                " and reload (SIGHUP)",
            )

    def sees(self, context: Context) -> Callable[[str], bool]:
        """Return what tells whether the caller may look at a flow; an empty name stands for what is about no flow."""
        if not self._mutual_tls:
            return lambda _: True
        names = identities(context)
        return lambda flow: granting(self.rules, names, AccessRole.OBSERVE, flow or None) is not None

    def visible(self, context: Context, status: DaemonStatus) -> DaemonStatus:
        """Return a status with the flows that the caller may look at.

        Raises:
            AccessDenied: No rule is about it.
        """
        self.check_known(context)
        return only(status, self.sees(context))

    def rank(self, context: Context) -> Rank:
        """Return what the caller may do, with any flow."""
        if not self._mutual_tls:
            # The token is that of daemons as well; without TLS they are as local as whoever orders.
            carried = self.token is not None and self.token.is_in(context.invocation_metadata() or ())
            return Rank.ORDERS if carried else Rank.OTHERS
        has = roles(self.rules, identities(context))
        if has & _ORDERING:
            return Rank.ORDERS
        return Rank.DAEMONS if AccessRole.REPLICATE in has else Rank.OTHERS

    def caller(self, context: Context) -> str:
        """Return what calls of one party have in common: a name in its certificate, else its address."""
        names = identities(context) if self._mutual_tls else ()
        if names:
            return str(known(self.rules, names) or names[0])
        return context.peer().rpartition(":")[0]


def only(status: DaemonStatus, sees: Callable[[str], bool]) -> DaemonStatus:
    """Return a status with some of its flows; what is said of the others is left out, too."""
    flows = tuple(flow for flow in status.flows if sees(flow.flow))
    if len(flows) == len(status.flows):
        return status
    because = status.not_ready_because
    if because is not None:
        because = "; ".join(why for flow in flows if (why := not_ready_because(flow))) or "another flow is not ready"
    return replace(status, flows=flows, not_ready_because=because)


def identities(context: Context) -> tuple[Identity, ...]:
    """Return the names in the caller's certificate, each with its kind."""
    pem = next(iter((context.auth_context() or {}).get(_CERTIFICATE, ())), None)
    return names_in_pem(pem) if pem is not None else ()


def shown(names: Sequence[Identity]) -> str:
    """Return some names for a text, cut where they are long: they are the caller's to choose."""
    return ", ".join(_short(name) for name in names[:_NAMES_SHOWN_MAX])


def _short(name: Identity) -> str:
    text = printable(str(name))
    return text if len(text) <= _NAME_CHARS_MAX else text[: _NAME_CHARS_MAX - 1] + "…"


def _untyped(names: Sequence[Identity]) -> str:
    """Return a hint where a rule of an earlier version may have been about the caller."""
    only_typed = {name.kind for name in names} <= {IdentityKind.URI, IdentityKind.COMMON_NAME}
    return " (a rule about a URI or a common name begins with uri: or cn:)" if only_typed else ""
