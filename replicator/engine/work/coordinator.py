"""The coordinator: grants leases, from a store that several coordinators may share (`core.work.lease` decides).

Liveness is judged by this process's monotonic clock: a daemon whose beat did not rise for a TTL is dead.
A coordinator that has just started has seen nobody yet, so everyone gets a whole TTL from then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeVar

from replicator.aio.turns import Turns
from replicator.core.work import lease, lease_calls
from replicator.errors import Conflict, StoreError
from replicator.model.lease import Binding, Lease, LeaseAnswer, LeaseCaller, LeaseTable, Member
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from replicator.model.lease import Versioned
from replicator.store.lease_store import LeaseStore

_PREFIX = "leases/"
_FLOWS_PREFIX = "flows/"
"""Which flow each uid belongs to, next to the leases: coordinators of older versions read only the leases."""
_UIDS_PER_FLOW_MAX = 256
"""Flows of one name: sites that share a flow file, and rebuilt clusters."""
_UIDS_MAX = 2048
"""Of all names together: a caller with rights on a glob of names could create any number of them."""
_FORMAT = 1
_Stored = TypeVar("_Stored", Member, Lease, LeaseTable)
_MEMBERS_MAX = 64
_ROUNDS_MAX = 20
_WATCH_SECONDS_MAX = 5.0

log = get_logger(__name__)


class Coordinator:
    """A coordinator; implements `rpc.client.lease_port.LeasePort`.

    Args:
        store: Where leases are kept.
        ttl_seconds: How long a daemon may be silent.
        now: Monotonic time.
        known_dead: A daemon that is known to have ended: its leases are free at once.
    """

    def __init__(
        self, store: LeaseStore, ttl_seconds: float, now: Callable[[], float], known_dead: str | None = None
    ) -> None:
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._now = now
        self._known_dead = known_dead
        self._seen: dict[str, dict[str, tuple[int, float]]] = {}
        self._bindings: dict[str, Binding] = {}
        self._listing = asyncio.Lock()

    # -- LeasePort ------------------------------------------------------------------------------------------------

    async def renew(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort.renew`."""
        return await self._change(caller, lambda table: table)

    async def acquire(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort.acquire`."""
        return await self._change(caller, lambda table: lease.acquired(table, caller))

    async def hand_off(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort.hand_off`."""
        return await self._change(caller, lambda table: lease.handed_off(table, caller.instance))

    async def release(self, caller: LeaseCaller, *, leaves: bool) -> LeaseAnswer:
        """See `LeasePort.release`."""
        return await self._change(caller, lambda table: lease.released(table, caller, leaves=leaves))

    async def tables(self) -> Sequence[LeaseTable]:
        """See `LeasePort.tables`."""
        async with self._listing:  # slow if there are many; several at once would hold up the event loop
            turns = Turns()
            tables = []
            for key, raw in (await self._store.read_all(_PREFIX)).items():
                tables.append(self._living(_parse(key.removeprefix(_PREFIX), raw)))
                await turns.give()
        return sorted(tables, key=lambda table: (table.flow, table.flow_uid))

    async def watch(self, flow_uid: str) -> AsyncIterator[LeaseTable]:
        """See `LeasePort.watch`."""
        key, revision = _PREFIX + flow_uid, 0
        while True:
            stored = await self._store.wait_for_change(key, revision, _WATCH_SECONDS_MAX)
            if stored is not None:
                revision = stored.revision
                yield self._living(_parse(flow_uid, stored))

    # -- changing -------------------------------------------------------------------------------------------------

    async def _change(self, caller: LeaseCaller, change: Callable[[LeaseTable], LeaseTable]) -> LeaseAnswer:
        lease_calls.check(caller)
        await self._bind(caller)
        key = _PREFIX + caller.flow_uid
        for _ in range(_ROUNDS_MAX):
            stored = await self._store.read(key)
            before = _parse(caller.flow_uid, stored) if stored is not None else LeaseTable(caller.flow_uid)
            lease_calls.check_epochs(caller, before)
            joined = lease.joined(self._living(before, but=caller.instance), caller)
            if len(joined.members) > _MEMBERS_MAX:
                raise Conflict(f"flow {caller.flow} has {_MEMBERS_MAX} daemons", next_step="stop some of them")
            after = change(lease.balanced(joined))
            written = await self._store.compare_and_set(key, _pack(after), stored.revision if stored else 0)
            if written is not None:
                _log_changes(before, after)
                self._living(after)
                return LeaseAnswer(after, self._ttl_seconds, lease.offered(after, caller))
        raise _contested(caller.flow)

    async def _bind(self, caller: LeaseCaller) -> None:
        """Return if the caller's uid belongs to its flow; record that if nothing is recorded yet.

        Raises:
            Conflict: It belongs to another flow, or the flow has too many uids.
            StoreError: The record cannot be read.
        """
        known = self._bindings.get(caller.flow_uid)
        with contextlib.suppress(Conflict):  # the store decides: somebody may have repaired it
            if known is not None and lease_calls.bound(known, caller) == known:
                return
        key = _FLOWS_PREFIX + caller.flow_uid
        for _ in range(_ROUNDS_MAX):
            stored = await self._store.read(key)
            before = _binding(caller.flow_uid, stored) if stored is not None else await self._named_before(caller)
            after = lease_calls.bound(before, caller)
            written = stored
            if stored is None or after != before:
                value = json.dumps({"format": _FORMAT, **asdict(after)}, separators=(",", ":")).encode()
                written = await self._store.compare_and_set(key, value, stored.revision if stored is not None else 0)
            if written is not None:
                self._bindings[caller.flow_uid] = after
                return
        raise _contested(caller.flow)

    async def _named_before(self, caller: LeaseCaller) -> Binding | None:
        """Return the flow of leases whose uid has no binding: a coordinator of an older version wrote them.

        Raises:
            Conflict: There are none, and the flow, or all flows together, have reached the limit of uids.
        """
        stored = await self._store.read(_PREFIX + caller.flow_uid)
        if stored is not None and (name := _parse(caller.flow_uid, stored).flow):
            return Binding(name)
        every = await self._store.read_all(_FLOWS_PREFIX)
        count = sum(_binding(key, one).flow == caller.flow for key, one in every.items())
        if count >= _UIDS_PER_FLOW_MAX or len(every) >= _UIDS_MAX:
            known = f"are named {caller.flow!r}" if count >= _UIDS_PER_FLOW_MAX else "are known"
            raise Conflict(
                f"{count if count >= _UIDS_PER_FLOW_MAX else len(every)} flows {known} in the coordinator's store",
                next_step=f"delete the keys {_FLOWS_PREFIX}UID and {_PREFIX}UID of flows that are gone from the store",
            )
        return None

    def _living(self, table: LeaseTable, but: str | None = None) -> LeaseTable:
        """Note every new beat; return the table without daemons silent for a TTL (`but` is calling now, and stays)."""
        now = self._now()
        before = self._seen.get(table.flow_uid, {})
        seen: dict[str, tuple[int, float]] = {}
        for member in table.members:
            beat, since = before.get(member.instance, (-1, now))
            seen[member.instance] = (beat, since) if beat == member.beat else (member.beat, now)
        self._seen[table.flow_uid] = seen
        alive = {
            name
            for name, (_, since) in seen.items()
            if (now - since < self._ttl_seconds or name == but) and name != self._known_dead
        }
        return lease.without_dead(table, alive)


def _contested(flow: str) -> Conflict:
    return Conflict(
        f"the leases of flow {flow} could not be changed",
        why=f"others changed them first, {_ROUNDS_MAX} times",
        next_step="replicator lease list",
    )


def _log_changes(before: LeaseTable, after: LeaseTable) -> None:
    """Log each lease that changed hands."""
    old = {one.shard: one.holder for one in before.leases}
    for one in after.leases:
        if one.holder != old.get(one.shard, ""):
            log.info("lease", flow=after.flow, shard=one.shard, holder=one.holder or None, epoch=one.epoch)


def _pack(table: LeaseTable) -> bytes:
    return json.dumps({"format": _FORMAT, **asdict(table)}, separators=(",", ":")).encode()


def _binding(flow_uid: str, stored: Versioned) -> Binding:
    """Return which flow a uid belongs to.

    Raises:
        StoreError: It cannot be read; nothing is guessed.
    """
    try:
        raw: dict[str, Any] = json.loads(stored.value)
        ids = str(raw["source_cluster_id"]), str(raw["target_cluster_id"])
        return Binding(str(raw["flow"]), *ids, int(raw.get("lineage_epoch", 0)))  # older versions wrote none
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(
            f"the name of flow {flow_uid} in the coordinator's store cannot be read",
            why=str(error),
            next_step=f"delete the key {_FLOWS_PREFIX}{flow_uid.removeprefix(_FLOWS_PREFIX)} there: it is rewritten",
        ) from error


def _typed(value: _Stored) -> _Stored:
    """Return what was read, if each of its fields has its type: JSON can hold any.

    Raises:
        TypeError: A field has another type.
    """
    for one in fields(value):
        found = type(getattr(value, one.name)).__name__
        if found != str(one.type).partition("[")[0]:
            raise TypeError(f"{one.name} is {found}, not {one.type}")
    return value


def _parse(flow_uid: str, stored: Versioned) -> LeaseTable:
    """Return what is stored.

    Raises:
        StoreError: It cannot be read; nothing is guessed.
    """
    try:
        raw: dict[str, Any] = json.loads(stored.value)
        members = tuple(_typed(Member(**one)) for one in raw.pop("members"))
        leases = tuple(_typed(Lease(**one)) for one in raw.pop("leases"))
        known = raw.pop("format") == _FORMAT
        table = _typed(LeaseTable(members=members, leases=leases, **raw))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"the leases of flow {flow_uid} in the coordinator's store cannot be read",
            why=str(error),
            next_step=f"delete the key {_PREFIX}{flow_uid} there: daemons acquire their leases again",
        ) from error
    if not known:
        raise StoreError(
            f"the leases of flow {flow_uid} in the coordinator's store come from a newer version",
            next_step="upgrade this coordinator",
        )
    return table
