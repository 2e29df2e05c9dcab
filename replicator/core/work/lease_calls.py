"""Checks a daemon's calls to a coordinator: whose leases it may ask for, and whether what it says makes sense."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.work.shards import SHARDS_MAX
from replicator.errors import Conflict, UsageError
from replicator.model.lease import Binding

if TYPE_CHECKING:
    from replicator.model.lease import LeaseCaller, LeaseTable

_UID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FLOW_CHARS_MAX = 63
_INSTANCE_CHARS_MAX = 300
_ADDRESS_CHARS_MAX = 300
_CLUSTER_ID_CHARS_MAX = 64
_EPOCH_MAX = 1 << 62
"""The highest a daemon may report, unless the table has a higher one: leases granted above must still fit 64 bits."""


def check(caller: LeaseCaller) -> None:
    """Return if what a caller says about itself and its shards makes sense.

    Raises:
        UsageError: It is about shards that the flow does not have, or no daemon of ours would say so.
    """
    if not 0 < caller.shards <= SHARDS_MAX:
        raise UsageError(f"{caller.shards} shards are not possible", why=f"a flow has 1 to {SHARDS_MAX} of them")
    texts = (
        ("instance", caller.instance, _INSTANCE_CHARS_MAX),
        ("flow", caller.flow, _FLOW_CHARS_MAX),
        ("address", caller.address, _ADDRESS_CHARS_MAX),
        ("source_cluster_id", caller.source_cluster_id, _CLUSTER_ID_CHARS_MAX),
        ("target_cluster_id", caller.target_cluster_id, _CLUSTER_ID_CHARS_MAX),
    )
    for name, text, chars_max in texts:
        if len(text) > chars_max or not text.isprintable():
            why = f"it has {len(text)} characters, or some that cannot be printed; at most {chars_max} are allowed"
            raise UsageError(f"a call about leases has an invalid {name}", why=why)
    if not _UID.fullmatch(caller.flow_uid) or not caller.instance or not caller.flow:
        raise UsageError("a call about leases must name a flow, its uid and a daemon")
    if caller.lineage_epoch < 0:
        raise UsageError(f"{caller.lineage_epoch} is not a lineage epoch")
    shards = (*caller.floors, *caller.held, *caller.busy)
    if len(caller.busy) > caller.shards or any(not 0 <= shard < caller.shards for shard in shards):
        raise UsageError(f"a call about leases may only be about shards 0 to {caller.shards - 1} of its flow")


def check_epochs(caller: LeaseCaller, table: LeaseTable) -> None:
    """Return if the epochs that a caller reports can be those of leases.

    Args:
        caller: Who calls.
        table: The leases of its flow so far.

    Raises:
        UsageError: They cannot.
    """
    known = {lease.shard: lease.epoch for lease in table.leases}
    for said in (caller.floors, caller.held):
        for shard, epoch in said.items():
            if not 0 <= epoch <= max(_EPOCH_MAX, known.get(shard, 0)):
                raise UsageError(f"{epoch} is not the epoch of a lease", why=f"it was given for shard {shard}")


def bound(before: Binding | None, caller: LeaseCaller) -> Binding:
    """Return which flow a uid belongs to, after a caller's statement.

    A daemon that says that the flow was moved since may name another source; its target never changes.

    Raises:
        Conflict: It belongs to a flow of another name, or between other clusters.
    """
    if before is None:
        return Binding(caller.flow, caller.source_cluster_id, caller.target_cluster_id, caller.lineage_epoch)
    if before.flow != caller.flow:
        raise Conflict(
            f"{caller.flow_uid} is not the uid of flow {caller.flow!r}",
            why=f"this coordinator knows it as the uid of flow {before.flow!r}",
            next_step="ask as a daemon of that flow: flows do not share leases",
        )
    if caller.lineage_epoch > before.lineage_epoch and caller.source_cluster_id:
        before = replace(before, source_cluster_id=caller.source_cluster_id, lineage_epoch=caller.lineage_epoch)
    for name in ("source_cluster_id", "target_cluster_id"):
        there, said = getattr(before, name), getattr(caller, name)
        if there and said and there != said:
            raise Conflict(
                f"flow {caller.flow!r} ({caller.flow_uid}) does not copy between these clusters",
                why=f"its {name} is {there} for this coordinator, but {said} for the caller",
                next_step="give a cluster that is a copy of another one its own coordinator",
            )
        if said and not there:
            before = replace(before, **{name: said})
    return before
