"""What a flow works with in one daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.admin.topics import TopicAdmin
from replicator.core.topics import selection
from replicator.engine.flow.assembly.history import History
from replicator.engine.state.ownership.between import ClusterPair
from replicator.model.names import STATE_TOPIC
from replicator.wire.cluster import Cluster

if TYPE_CHECKING:
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import CoordinatorSpec, FlowSpec
    from replicator.rpc.client.lease_port import LeasePort
    from replicator.rpc.client.peers import Peers
    from replicator.store.event_store import Store


@dataclass(frozen=True, slots=True)
class DaemonIdentity:
    """This daemon, as others know it.

    Attributes:
        instance: Its name, new with every start.
        address: The address of its control service.
        predecessor: The daemon that used this state directory before, and has certainly ended; None if there is none.
    """

    instance: str
    address: str
    predecessor: str | None = None


class FlowInputs:
    """What a flow works with, from its start to its end.

    Args:
        flow: Its policy.
        source: How to reach the source.
        target: How to reach the target.
        coordinator: Timing of leases and claims.
        me: This daemon.
        store: The store that keeps events.
        leases: Grants leases.
        peers: Asks other daemons of the flow.
        reverse: The flow with both clusters swapped, if the file has one.

    Attributes:
        source: The source, not connected yet.
        target: The target, not connected yet.
        admins: The admin clients of the source and the target.
        between: Checks that both clusters are the ones the flow means.
        history: The flow's events.
    """

    def __init__(
        self,
        flow: FlowSpec,
        source: ClusterSpec,
        target: ClusterSpec,
        coordinator: CoordinatorSpec,
        me: DaemonIdentity,
        store: Store,
        leases: LeasePort,
        peers: Peers,
        *,
        reverse: FlowSpec | None = None,
    ) -> None:
        self.flow = flow
        self.source = Cluster(source)
        self.source.concerns = lambda name: name == STATE_TOPIC or selection.means_by_name(flow.topics, name)
        self.target = Cluster(target)
        self.admins = (TopicAdmin(source), TopicAdmin(target))
        self.admins[0].prove_with(self.source.prove)
        self.between = ClusterPair(flow, self.source, self.target, store)
        self.coordinator = coordinator
        self.me = me
        self.leases = leases
        self.peers = peers
        self.reverse = reverse
        self.history = History(flow.name, store)

    async def close(self) -> None:
        """Close every connection."""
        self.source.close()
        self.target.close()
        for admin in self.admins:
            await admin.close()
