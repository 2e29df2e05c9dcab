"""Partitions, mirrors and flows whose status tests ask for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from replicator.aio.turns import Turns
from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading.pieces import Fill
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.books import CopyCounters
from replicator.engine.copy.partitions.partition import OpenTransaction, Slot
from replicator.engine.copy.partitions.recorded import Recorded
from replicator.engine.flow.status import SilentBrokers, _mirror, _partition, flow_status
from replicator.engine.topics.mirror import Mirror
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Pattern, PatternKind, Selection
from replicator.model.status.snapshots import FlowStatus, MirrorStatus
from replicator.model.status.states import FlowState, Reason
from replicator.wire.cluster import Cluster
from replicator.wire.topology import Leader, Topic
from tests.at_once import at_once
from tests.shards import shard_with

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.engine.copy.pump import Pump

FLOW = FlowSpec("f", "east", "west", Selection((Pattern(PatternKind.GLOB, "*"),)))


def cluster(alias: str, node: int) -> Cluster:
    """Return a cluster of brokers 1 to 3, of which one leads all of a topic."""
    made = Cluster(ClusterSpec(alias, (("127.0.0.1", 1),)))
    made.brokers = {number: ("127.0.0.1", number) for number in (1, 2, 3)}
    made.topics["orders"] = Topic("orders", bytes(16), {number: Leader(node, 0) for number in range(10)}, 1)
    return made


def pump_of(*slots: Slot, source: Cluster | None = None, target: Cluster | None = None, **shards: Any) -> Pump:
    """Return a pump of these partitions, as far as status asks for it."""
    there, here = source or cluster("east", 1), target or cluster("west", 2)
    asked = {
        "holder": lambda shard: f"daemon {shard.number}" if shard.number < 8 else None,
        "of": lambda where: shard_with(None, where.partition),
        "works_on": lambda where: where.partition == 7,
        "unheard_seconds": lambda: None,
        "last_holder": lambda _: None,
        "status": tuple,
    }
    made = SimpleNamespace(
        partitions={one.source: one for one in slots},
        sightings=SimpleNamespace(take_silence=lambda _: None),
        context=SimpleNamespace(
            writers=SimpleNamespace(flow=SimpleNamespace(producer_epoch=1)),
            counters=CopyCounters(),
            now=lambda: 100.0,
            leaders_of=lambda one: (there.leader(one.source), here.leader(one.target)),
        ),
        shards=SimpleNamespace(**asked | shards),
        source=SimpleNamespace(cluster=there),
        target=SimpleNamespace(cluster=here),
    )
    return cast("Pump", made)


PUMP = pump_of()


def whole(
    *slots: Slot, silent: SilentBrokers | None = None, partitions: int = 0, pump: Pump | None = None
) -> FlowStatus:
    """Return the picture of a flow that copies these partitions of one topic."""
    mirrors = {"orders": Mirror("orders", "orders", partitions=partitions or len(slots))}
    return at_once(
        flow_status(
            FlowState.ACTIVE,
            FLOW,
            uid="uid",
            mirrors=mirrors,
            pump=pump or pump_of(*slots),
            paused=False,
            reason=None,
            silent=silent or SilentBrokers(),
        )
    )


def mirror_of(mirror: Mirror, slots: Sequence[Slot], pump: Pump) -> MirrorStatus:
    """Return the picture of one topic."""
    return at_once(_mirror(mirror, slots, pump, Turns(), paused=False))


def slot(partition: int) -> Slot:
    """Return a partition that was copied before and is to be attached again."""
    where = TopicPartition("orders", partition)
    return Slot(where, where, PartitionCopy(where, TargetLimits(1 << 20, 0)), shard_with(), Recorded(active=True))


def copied(partition: int, *, fill: int = 0) -> Slot:
    """Return a partition that is copied; offsets without a record come next."""
    made = slot(partition)
    made.copy.resume(Resume(10, 10, None))
    if fill:
        made.copy.fill(Fill(10, fill))
    return made


def held_up(made: Slot, seconds: float) -> Slot:
    """Let an open transaction be found."""
    made.seen.observe_stable(10, 99, 100.0 - seconds)
    made.seen.open_transaction = OpenTransaction(10, 4711, "producer id 4711")
    return made


def shown(made: Slot) -> tuple[Reason | None, str | None, float | None]:
    """Return what is said of a partition, and for how long a transaction has held it up."""
    picture = _partition(made, PUMP)
    return picture.reason, picture.detail, picture.open_transaction_seconds
