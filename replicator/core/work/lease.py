"""The coordinator's decisions: who holds which lease after a daemon's call.

Pure: a table and a call in, the next table out. The caller of these functions judges who is alive, by how long
it has seen no new sign of life on its own monotonic clock; wall clocks of machines are never compared.

A lease only says who *should* work. Who may write is decided on the target (claims, producer epochs), so a wrong or
old table costs speed, never a record. Its epochs are above everything seen on the state topic, so they never go back,
even where the table was restored from an old copy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.model.lease import Lease, LeaseCaller, LeaseTable, Member

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

_SETTLED_BEATS = 3
"""A daemon gets leases of others only after this many signs of life: one that crashes at once moves nothing."""


def joined(table: LeaseTable, caller: LeaseCaller) -> LeaseTable:
    """Return the table after a sign of life of the caller, which becomes a member if it is not one.

    The table's number of shards follows the caller's: all daemons of a flow have agreed on it on the state topic.
    """
    before = table.member(caller.instance)
    beat = before.beat + 1 if before is not None else 1
    leaving = before is not None and before.leaving
    others = [member for member in table.members if member.instance != caller.instance]
    member = Member(caller.instance, caller.address, beat, leaving)
    members = tuple(sorted([*others, member], key=lambda one: one.instance))
    known = {lease.shard: lease for lease in table.leases}
    leases = tuple(known.get(shard, Lease(shard, 0)) for shard in range(caller.shards))
    return replace(table, flow=caller.flow, members=members, leases=tuple(_raised(lease, caller) for lease in leases))


def _raised(lease: Lease, caller: LeaseCaller) -> Lease:
    """Correct a lease by what the caller knows better: the table may have been lost, or come from an old copy.

    A daemon that works under the newest lease keeps it, whatever the table says: it was only out of reach. But a lease
    that is older than what its holder has seen on the state topic is granted again.
    """
    held, floor = caller.held.get(lease.shard, 0), caller.floors.get(lease.shard, 0)
    if held > floor and (held > lease.epoch or (held == lease.epoch and not lease.holder)):
        return Lease(lease.shard, held, caller.instance)
    if lease.holder == caller.instance and floor >= lease.epoch:
        return Lease(lease.shard, floor)
    return lease


def without_dead(table: LeaseTable, alive: AbstractSet[str]) -> LeaseTable:
    """Return the table without the daemons that gave no sign of life for a TTL; their leases become free."""
    members = tuple(member for member in table.members if member.instance in alive)
    names = {member.instance for member in members}
    return replace(
        table,
        members=members,
        leases=tuple(
            replace(
                lease,
                holder=lease.holder if lease.holder in names else "",
                successor=lease.successor if lease.successor in names else "",
            )
            for lease in table.leases
        ),
    )


def offered(table: LeaseTable, caller: LeaseCaller) -> tuple[int, ...]:
    """Return the shards that the caller may acquire now: meant for it, or free and within its fair share.

    A shard that somebody works on is not free, even if no member holds it: that daemon cannot reach us now.
    """
    instance = caller.instance
    member = table.member(instance)
    if member is None or member.leaving:
        return ()
    meant = [lease.shard for lease in table.leases if lease.successor == instance]
    staying = sum(not one.leaving for one in table.members)
    room = -(-len(table.leases) // staying) - _load(table, instance)
    free = [
        lease.shard
        for lease in table.leases
        if not lease.holder and not lease.successor and lease.shard not in caller.busy
    ]
    return tuple(sorted(meant + free[: max(0, room)]))


def acquired(table: LeaseTable, caller: LeaseCaller) -> LeaseTable:
    """Return the table after the caller took every lease it is offered, each under a new epoch."""
    mine = set(offered(table, caller))

    def epoch(lease: Lease) -> int:
        return max(lease.epoch, caller.floors.get(lease.shard, 0), caller.held.get(lease.shard, 0)) + 1

    return replace(
        table,
        leases=tuple(
            Lease(lease.shard, epoch(lease), caller.instance) if lease.shard in mine else lease
            for lease in table.leases
        ),
    )


def released(table: LeaseTable, caller: LeaseCaller, *, leaves: bool) -> LeaseTable:
    """Return the table after the caller gave back what it says it held; with `leaves` it is no longer a member."""
    leases = tuple(
        replace(lease, holder="")
        if lease.holder == caller.instance and caller.held.get(lease.shard) == lease.epoch
        else lease
        for lease in table.leases
    )
    members = tuple(one for one in table.members if not (leaves and one.instance == caller.instance))
    return without_dead(replace(table, leases=leases, members=members), {one.instance for one in members})


def handed_off(table: LeaseTable, instance: str) -> LeaseTable:
    """Return the table once a daemon is on its way out: each of its leases is meant for the least loaded other."""
    members = tuple(replace(one, leaving=one.leaving or one.instance == instance) for one in table.members)
    table = replace(table, members=members)
    for lease in table.held_by(instance):
        successors = sorted((_load(table, one.instance), one.instance) for one in members if not one.leaving)
        if successors and not lease.successor:
            table = _with(table, replace(lease, successor=successors[0][1]))
    return table


def balanced(table: LeaseTable) -> LeaseTable:
    """Return the table with leases reassigned from loaded daemons to others that have at least two fewer.

    A difference of one moves nothing, and a daemon that has just joined gets nothing yet: leases do not flap.
    """
    settled = [one.instance for one in table.members if not one.leaving and one.beat >= _SETTLED_BEATS]
    while len(settled) > 1:
        by_load = sorted(settled, key=lambda name: (_load(table, name), name))
        least, most = by_load[0], by_load[-1]
        movable = [lease for lease in table.held_by(most) if not lease.successor]
        if _load(table, most) - _load(table, least) <= 1 or not movable:
            break
        table = _with(table, replace(movable[-1], successor=least))
    return table


def _load(table: LeaseTable, instance: str) -> int:
    """Return how many leases a daemon will have once every successor has taken over."""
    return sum((lease.successor or lease.holder) == instance for lease in table.leases)


def _with(table: LeaseTable, lease: Lease) -> LeaseTable:
    return replace(table, leases=tuple(lease if one.shard == lease.shard else one for one in table.leases))
