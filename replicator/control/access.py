"""What a caller may do: checked before anything is done or answered.

With mutual TLS the names in the certificate count, and the rules of the flow file decide; what no rule allows is
refused. Plain text is served only on loopback: there everyone may read, and orders carry the token of the state
directory. With TLS but no client CA callers cannot be told apart: they can only read.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from replicator.control.caller import Caller, KnownBy
from replicator.control.refusals import Refusals, Why
from replicator.core.acl.granting import granting, known, roles
from replicator.core.status.health import not_ready_because
from replicator.errors import AccessDenied
from replicator.model.access_rules import AccessRole, Identity, IdentityKind
from replicator.model.text import printable, said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.control.order_token import OrderToken
    from replicator.model.access_rules import AccessRule
    from replicator.model.status.snapshots import DaemonStatus

_NAMES_SHOWN_MAX = 3
_NAME_CHARS_MAX = 120
_ORDERING = frozenset({AccessRole.OPERATE, AccessRole.FAILOVER})


class Rank(enum.StrEnum):
    """What callers may do, with any flow: callers of one rank take no room from another rank."""

    ORDERS = "those who give orders"
    DAEMONS = "daemons"
    OTHERS = "others"


class Actor(NamedTuple):
    """Who gives an order.

    Attributes:
        name: The name in the certificate that gave the right, or what the caller calls itself.
        known_by: `certificate`, `token` (of the state directory), or `caller` if there is only its own claim.
    """

    name: str
    known_by: str


class Access:
    """What the callers of one daemon may do, whichever face they use.

    Attributes:
        rules: Those of the flow file; replaced when it is reloaded.
        refusals: What was refused.
        token: What orders carry on plain-text loopback; None if no orders are taken.

    Args:
        rules: Those of the flow file.
        token: See above.
        refusals: See above.
    """

    def __init__(
        self,
        rules: Sequence[AccessRule] = (),
        *,
        token: OrderToken | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.refusals = refusals if refusals is not None else Refusals()
        self.token = token

    def check(self, caller: Caller, flow: str | None, *roles: AccessRole) -> Actor:
        """Return who calls, if they may do this.

        Args:
            caller: Who calls.
            flow: The flow that the call is about; None for all flows.
            roles: Any of them is enough.

        Raises:
            AccessDenied: The caller cannot be identified, or may not do this.
        """
        if caller.known_by is not KnownBy.CERTIFICATE:
            if roles == (AccessRole.OBSERVE,):
                return Actor(said(caller.claimed, _NAME_CHARS_MAX) or "unknown", "caller")
            self._check_token(caller)
            return Actor(said(caller.claimed, _NAME_CHARS_MAX) or "unknown", "token")
        names = caller.names
        self._check_named(names)
        for role in roles:
            name = granting(self.rules, names, role, flow)
            if name is not None:
                return Actor(str(name), "certificate")
        about = f"flow {flow[:_NAME_CHARS_MAX]!r}" if flow is not None else "all flows"
        self.refusals.count(Why.ROLE)
        raise AccessDenied(
            f"{shown(names)} may not do this with {about}",
            why=f"this needs the role {' or '.join(roles)}, and no rule grants it{_untyped(names)}",
            next_step=f"add to daemon.access: {{identity: {_short(names[0])!r}, roles: [{roles[0]}]}},"
            " and reload (SIGHUP)",
        )

    def _check_token(self, caller: Caller) -> None:
        if self.token is None or caller.known_by is not KnownBy.TOKEN:
            self.refusals.count(Why.NOBODY)
            raise AccessDenied(
                "this daemon takes no orders from callers it cannot identify",
                next_step="set daemon.tls.ca_file and call with a client certificate",
            )
        if not self.token.equals(caller.token):
            self.refusals.count(Why.TOKEN)
            raise AccessDenied(
                "without TLS an order must carry the token of the daemon's state directory",
                why=self.token.problem or "this call has none, or a wrong one",
                next_step=f"run it as the user who runs the daemon: then the command line can read {self.token.path};"
                " or set daemon.tls.ca_file and daemon.access",
            )

    def _check_named(self, names: Sequence[Identity]) -> None:
        if not names:
            self.refusals.count(Why.CERTIFICATE)
            raise AccessDenied(
                "the client certificate names nobody",
                why="it has no alternative name and no common name, or none that is valid for its kind",
                next_step="use one with a SAN",
            )

    def check_known(self, caller: Caller) -> None:
        """Return if the caller has any role at all.

        Raises:
            AccessDenied: It has none.
        """
        if caller.known_by is not KnownBy.CERTIFICATE:
            return
        names = caller.names
        self._check_named(names)
        if known(self.rules, names) is None:
            self.refusals.count(Why.ROLE)
            raise AccessDenied(
                f"{shown(names)} may not read anything here",
                why=f"no rule is about it{_untyped(names)}",
                next_step=f"add to daemon.access: {{identity: {_short(names[0])!r}, roles: [observe]}},"
                " and reload (SIGHUP)",
            )

    def sees(self, caller: Caller) -> Callable[[str], bool]:
        """Return a test whether the caller may read a flow, by name; an empty name means what is about no flow."""
        if caller.known_by is not KnownBy.CERTIFICATE:
            return lambda _: True
        return lambda flow: granting(self.rules, caller.names, AccessRole.OBSERVE, flow or None) is not None

    def visible(self, caller: Caller, status: DaemonStatus) -> DaemonStatus:
        """Return a status with the flows that the caller may read.

        Raises:
            AccessDenied: No rule is about it.
        """
        self.check_known(caller)
        return only(status, self.sees(caller))

    def rank(self, caller: Caller) -> Rank:
        """Return what the caller may do, with any flow."""
        if caller.known_by is not KnownBy.CERTIFICATE:
            # Daemons have the same token; without TLS they are as local as whoever gives orders.
            carried = self.token is not None and self.token.equals(caller.token)
            return Rank.ORDERS if carried and caller.known_by is KnownBy.TOKEN else Rank.OTHERS
        has = roles(self.rules, caller.names)
        if has & _ORDERING:
            return Rank.ORDERS
        return Rank.DAEMONS if AccessRole.REPLICATE in has else Rank.OTHERS

    def party(self, caller: Caller) -> str:
        """Return what all calls of one party have in common: a name in its certificate, else its address."""
        if caller.known_by is KnownBy.CERTIFICATE and caller.names:
            return str(known(self.rules, caller.names) or caller.names[0])
        return caller.peer.rpartition(":")[0]


def only(status: DaemonStatus, sees: Callable[[str], bool]) -> DaemonStatus:
    """Return a status with some of its flows; text about the others is left out, too."""
    flows = tuple(flow for flow in status.flows if sees(flow.flow))
    if len(flows) == len(status.flows):
        return status
    because = status.not_ready_because
    if because is not None:
        because = "; ".join(why for flow in flows if (why := not_ready_because(flow))) or "another flow is not ready"
    return replace(status, flows=flows, not_ready_because=because)


def shown(names: Sequence[Identity]) -> str:
    """Return some names for a text, shortened if long: the caller chooses them."""
    return ", ".join(_short(name) for name in names[:_NAMES_SHOWN_MAX])


def _short(name: Identity) -> str:
    text = printable(str(name))
    return text if len(text) <= _NAME_CHARS_MAX else text[: _NAME_CHARS_MAX - 1] + "…"


def _untyped(names: Sequence[Identity]) -> str:
    """Return a hint if a rule written for an earlier version may have meant the caller."""
    only_typed = {name.kind for name in names} <= {IdentityKind.URI, IdentityKind.COMMON_NAME}
    return " (a rule about a URI or a common name begins with uri: or cn:)" if only_typed else ""
