"""Who may read what over HTTP: everything on loopback; elsewhere by certificate, or three pages for everybody.

A web page can make a browser call a daemon on loopback under the page's own host name (DNS rebinding). So without TLS
a name in the `Host` header must be one of ours; an address cannot be rebound.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response

from replicator.control.refusals import Refusals, Why
from replicator.core.acl.granting import granting, known
from replicator.model.access_rules import AccessRole, Identity
from replicator.model.units import is_loopback

if TYPE_CHECKING:
    from starlette.requests import Request

    from replicator.control.access import Access
    from replicator.model.access_rules import AccessRule
    from replicator.model.spec import DaemonSpec, TlsSpec

PROBES = frozenset({"/healthz", "/readyz"})
PUBLIC = PROBES | {"/metrics"}
"""Pages that `daemon.http_public` opens to everybody."""
_HOST = re.compile(r"(?:\[([0-9a-f:.]{1,45})\]|([^\[\]@:/\s]{1,253}))(?::[0-9]{1,5})?")
"""An IPv6 address in brackets, or a name or IPv4 address; then a port."""


@dataclass(frozen=True, slots=True)
class Gate:
    """How callers of one HTTP server are judged.

    Attributes:
        hosts: Names it may be called by, besides localhost.
        public: Whether three pages are for everybody, and the others for nobody.
        tls: Its certificates; `access` decides what a caller's certificate may see. None: plain text.
        access: The present rules.
    """

    hosts: frozenset[str] = frozenset()
    public: bool = False
    tls: TlsSpec | None = None
    access: Access | None = None

    @classmethod
    def of(cls, daemon: DaemonSpec, access: Access) -> Gate:
        """Return the gate of a daemon."""
        host = daemon.http[0]
        local = is_loopback(host)
        return cls(
            frozenset({host.lower(), *(name.lower() for name in daemon.http_hosts)}),
            public=daemon.http_public and not local,
            tls=None if local or daemon.http_public else daemon.tls,
            access=access,
        )

    @property
    def refusals(self) -> Refusals:
        """What was refused."""
        return self.access.refusals if self.access is not None else Refusals()

    def refusal(self, request: Request, page: str) -> Response | None:
        """Return the answer to a caller that may not see a page; None if it may, at least in part."""
        if self.tls is None and not self._is_ours(request.headers.get("host")):
            self.refusals.count(Why.HOST)
            return _text(421, "this host name is not one of ours; next: add it to daemon.http_hosts")
        if self.public and page not in PUBLIC:
            return _text(403, "daemon.http_public opens only /metrics, /healthz and /readyz")
        if self.tls is not None and page not in PROBES and not self._is_known(request):
            self.refusals.count(Why.CERTIFICATE if not _identities(request) else Why.ROLE)
            return _text(403, "present a client certificate to which daemon.access gives the role observe")
        return None

    def sees(self, request: Request) -> Callable[[str], bool]:
        """Return a function that says whether the caller may see a flow."""
        if self.tls is None:
            return lambda _: True
        rules, names = self._rules(), _identities(request)
        return lambda flow: granting(rules, names, AccessRole.OBSERVE, flow or None) is not None

    def shows_reasons(self, request: Request) -> bool:
        """Return whether the caller may see why the daemon is not ready."""
        return self.tls is None or self._is_known(request)

    def _rules(self) -> tuple[AccessRule, ...]:
        return self.access.rules if self.access is not None else ()

    def _is_known(self, request: Request) -> bool:
        return known(self._rules(), _identities(request)) is not None

    def _is_ours(self, header: str | None) -> bool:
        if header is None:  # HTTP/1.0, which some probes speak; a browser always sends one
            return True
        parts = _HOST.fullmatch(header.strip().lower())
        if parts is None:
            return False
        name = parts[1] or parts[2]
        if name == "localhost" or name.endswith(".localhost") or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _identities(request: Request) -> tuple[Identity, ...]:
    names: tuple[Identity, ...] = getattr(request.state, "identities", ())
    return names


def _text(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=status)
