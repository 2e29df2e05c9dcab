"""A daemon below every face, for the tests of what is decided about calls: no gRPC, real rules, a real audit log."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from replicator.control.access import Access
from replicator.control.audited_control import AuditedControl
from replicator.control.caller import Caller, KnownBy
from replicator.control.order_token import OrderToken
from replicator.control.requests import DesiredRequest, ResolveRequest, SwitchRequest
from replicator.model.access_rules import AccessRole, AccessRule, Identity, IdentityKind
from replicator.model.operations.audit import AuditEntry, Phase
from replicator.model.operations.damage import Clearing
from replicator.model.status.events import Desired
from replicator.obs.audit import Audit
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import DAMAGED, EAST

FLOW, BACK = EAST.flow, "west-to-east"
ANN = Identity(IdentityKind.EMAIL, "ann@ops.example")
D1 = Identity(IdentityKind.DNS, "d1.daemons.example")
PEER = "ipv4:10.0.0.7:51234"
PAUSE = DesiredRequest(FLOW, Desired.PAUSED, "patch")
SKIP = ResolveRequest(FLOW, "audit-2026", "skip", reason="late")
SWITCHOVER = SwitchRequest(FLOW, "switchover", "s1", reason="move")
FAILOVER = SwitchRequest(FLOW, "failover", "f1")
CLEAR = Clearing(DAMAGED[0].cluster, DAMAGED[0].key, DAMAGED[0].offset)
CHANGES = (
    "set_desired",
    "resolve",
    "forget",
    "repoint",
    "clear_damaged",
    "start_switch",
    "abort_switch",
    "confirm_switch",
)


@dataclass
class World:
    """A daemon, its audit log in a directory, and what its callers may do."""

    state_dir: Path
    daemon: FakeDaemon = field(default_factory=FakeDaemon)
    changed: list[str] = field(default_factory=list)
    """Methods of the daemon that were called, of those that change something or tell what they would."""

    def __post_init__(self) -> None:
        self.token = OrderToken(self.state_dir)
        self.audit = Audit(self.state_dir)
        self.access = Access(token=self.token)
        self.control = AuditedControl(self.daemon, self.audit, self.access)
        for name in CHANGES:
            setattr(self.daemon, name, self._noted(name, getattr(self.daemon, name)))

    def _noted(self, name: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*what: Any, **how: Any) -> Any:
            self.changed.append(name)
            return await inner(*what, **how)

        return call

    def may(self, identity: str, *roles: AccessRole, flows: tuple[str, ...] = ("*",)) -> None:
        """Add a rule."""
        self.access.rules = (*self.access.rules, AccessRule(identity, roles, flows))

    def written(self) -> list[AuditEntry]:
        """Return what is in the audit log."""
        return list(self.audit.recent(lambda _: True, 100))

    def done(self) -> list[AuditEntry]:
        """Return what is in it of changes."""
        return [entry for entry in self.written() if entry.phase is not Phase.REFUSED]

    def break_disk(self) -> None:
        """Let nothing be written to the audit log any more."""
        shutil.rmtree(self.state_dir)
        self.state_dir.write_text("no directory")


def shown(*names: Identity, claimed: str = "", seconds: float | None = None) -> Caller:
    """Return who shows a certificate with these names."""
    until = None if seconds is None else time.monotonic() + seconds
    return Caller(KnownBy.CERTIFICATE, PEER, names, claimed=claimed, until_seconds=until)


Orders = dict[str, Callable[[AuditedControl, Caller], Awaitable[object]]]
ORDERS: Orders = {
    "SetDesired": lambda to, who: to.set_desired(who, PAUSE),
    "ResolveMirror": lambda to, who: to.resolve(who, SKIP, dry_run=False),
    "Forget": lambda to, who: to.forget(who, FLOW, "orders.eu", reason="", dry_run=False),
    "Repoint": lambda to, who: to.repoint(who, FLOW, "north", reason="", dry_run=False),
    "ClearDamaged": lambda to, who: to.clear_damaged(who, FLOW, CLEAR, reason=""),
    "StartSwitch": lambda to, who: to.start_switch(who, SWITCHOVER),
    "AbortSwitch": lambda to, who: to.abort_switch(who, FLOW, reason="", target_lost=False),
    "ConfirmSwitch": lambda to, who: to.confirm_switch(who, FLOW, "x"),
}
PLANS: Orders = {
    "ResolveMirror": lambda to, who: to.resolve(who, SKIP, dry_run=True),
    "Forget": lambda to, who: to.forget(who, FLOW, "orders.eu", reason="", dry_run=True),
    "Repoint": lambda to, who: to.repoint(who, FLOW, "north", reason="", dry_run=True),
    "StartSwitch": lambda to, who: to.plan_switch(who, SWITCHOVER),
}
LOST: Orders = {
    "StartSwitch": lambda to, who: to.start_switch(who, FAILOVER),
    "AbortSwitch": lambda to, who: to.abort_switch(who, FLOW, reason="", target_lost=True),
}


class Slow(FakeDaemon):
    """One that begins, and goes on when it is let; `inside` counts those that are at it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.over = asyncio.Event(), asyncio.Event()
        self.inside = self.most = 0

    async def _held(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.began.set()
        try:
            await self.over.wait()
        finally:
            self.inside -= 1

    async def set_desired(self, flow: str, desired: Desired, *, actor: str, reason: str) -> bool:
        """See above; another flow does not wait."""
        if flow == FLOW:
            await self._held()
        return await super().set_desired(flow, desired, actor=actor, reason=reason)

    async def start_switch(self, flow: str, order: Any) -> Any:
        """See above; a failover does not wait."""
        if order.verb == "switchover":
            await self._held()
        return await super().start_switch(flow, order)
