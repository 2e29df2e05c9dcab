"""Which two clusters a flow connects: its name alone does not say which flow it is.

Two sites may use the same flow file and the same target, and a source may be rebuilt behind its old address. So a flow
is identified by its name and the ids of both clusters. While a cluster does not answer, its id is taken from the flow
file, or from what this daemon noted when it ran the flow before; else it is unknown, and an unknown id fits no flow.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from replicator.engine.state import records as state
from replicator.errors import ReplicatorError, StoreError, WrongCluster
from replicator.model.names import STATE_TOPIC
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.model.spec import FlowSpec
    from replicator.state_pb import state_pb2 as pb
    from replicator.store.event_store import Store
    from replicator.wire.cluster import Cluster

_NAMED_MAX = 5

log = get_logger(__name__)


class ClusterPair:
    """The two clusters of one flow, as far as this daemon knows which they are.

    Args:
        flow: The flow's policy.
        source: May be out of reach.
        target: May be out of reach.
        store: Where the daemon notes which clusters answered.
    """

    def __init__(self, flow: FlowSpec, source: Cluster, target: Cluster, store: Store) -> None:
        self._flow = flow
        self._source = source
        self._target = target
        self._store = store
        self._unproven: set[str] = set()
        self._noted = {cluster.spec.alias: self._read(cluster) for cluster in (source, target)}

    def _read(self, cluster: Cluster) -> str | None:
        try:
            return self._store.noted_cluster(self._flow.name, cluster.spec.alias)
        except StoreError as error:
            log.warning("clusters noted before are not known", flow=self._flow.name, why=str(error))
            return None

    def note(self) -> None:
        """Note which clusters answered, for a start while one of them does not."""
        for cluster in (self._source, self._target):
            if cluster.cluster_id is None or cluster.cluster_id == self._noted[cluster.spec.alias]:
                continue
            self._noted[cluster.spec.alias] = cluster.cluster_id
            try:
                self._store.note_cluster(self._flow.name, cluster.spec.alias, cluster.cluster_id)
            except StoreError as error:
                log.warning("which cluster answers is not noted", flow=self._flow.name, why=str(error))

    def target_id(self) -> str | None:
        """Return the id of the target that is meant; None while it is unknown."""
        return self._target.spec.cluster_id or self._target.cluster_id or self._noted[self._target.spec.alias]

    def record(self, records: Mapping[bytes, bytes]) -> pb.FlowRecord | None:
        """Return this flow's record on its target; None if there is none, or nothing identifies it."""
        return state.find_flow(records, self._flow.name, self._source_id(records), self._target.cluster_id)

    def _source_id(self, records: Mapping[bytes, bytes]) -> str | None:
        said = self._source.spec.cluster_id
        return said or (self._noted_source(records) or self._source.cluster_id)

    def _noted_source(self, records: Mapping[bytes, bytes]) -> str | None:
        """Return the source that this daemon ran the flow from before, if the target knows that flow."""
        noted = self._noted[self._source.spec.alias]
        known = state.find_flow(records, self._flow.name, noted, self._target.cluster_id)
        return noted if known is not None else None

    def ids(self) -> tuple[str, ...]:
        """Return the ids that the source of the flow file may have: the file's alone, else the noted one, and today's.

        After a move the noted one is of an earlier source, which may never answer again.
        """
        if self._source.spec.cluster_id is not None:
            return (self._source.spec.cluster_id,)
        known = self._noted[self._source.spec.alias], self._source.cluster_id
        return tuple(dict.fromkeys(one for one in known if one is not None))

    def ran_from(self, alias: str, cluster_id: str) -> bool:
        """Return whether this daemon has run the flow from a cluster, under that alias."""
        try:
            return bool(cluster_id) and self._store.noted_cluster(self._flow.name, alias) == cluster_id
        except StoreError as error:
            log.warning("clusters noted before are not known", flow=self._flow.name, why=str(error))
            return False

    def check_source(self, records: Mapping[bytes, bytes]) -> None:
        """Return if the source that answers is the one this daemon ran the flow from before, or the file names it.

        Raises:
            WrongCluster: It is a different one.
        """
        if self._source.spec.cluster_id is not None:
            return  # the operator's word, which is checked whenever the cluster is opened
        before = self._noted_source(records)
        if before is not None and before != self._source.cluster_id:
            raise changed(self._flow, before, self._source.cluster_id)

    def hold_source(self, records: Mapping[bytes, bytes], uid: str) -> None:
        """Refuse requests to any cluster but the one that the flow is recorded to copy from."""
        known = state.stored_flow(records, uid)
        if known is None:
            return
        if known.source_cluster_id:
            self._source.pin(known.source_cluster_id, partial(changed, self._flow, known.source_cluster_id))
        elif uid not in self._unproven:
            self._unproven.add(uid)
            log.warning(
                "which cluster the flow copies from is not recorded, so a rebuilt one could not be told apart",
                flow=self._flow.name,
                next=f"set clusters.{self._flow.source}.cluster_id",
            )

    def check_noted_source(self) -> None:
        """Return if the source that answers may be the one this daemon ran the flow from; the target is not asked.

        Raises:
            WrongCluster: It is a different one, and the flow file does not say that it is meant.
        """
        noted = self._noted[self._source.spec.alias]
        if self._source.spec.cluster_id is None and noted is not None and noted != self._source.cluster_id:
            raise changed(self._flow, noted, self._source.cluster_id)

    def unknown(self, records: Mapping[bytes, bytes]) -> ReplicatorError | None:
        """Return why nobody knows which flow this is while its source is out of reach; None if that is known."""
        if self._source_id(records) is not None:
            return None
        alias = self._source.spec.alias
        known = [
            f"{one.source_cluster_id} ({one.source_alias})"
            for one in state.flows_named(records, self._flow.name)
            if one.target_cluster_id == self._target.cluster_id
        ]
        text = f"{STATE_TOPIC} on {self._flow.target} knows flows of this name from: {', '.join(known[:_NAMED_MAX])}"
        return ReplicatorError(
            f"it is not known which cluster the source of flow {self._flow.name!r} is",
            why=f"{alias} has not answered since this daemon started, and the flow file does not give its cluster_id; "
            + (text if known else f"{STATE_TOPIC} on {self._flow.target} knows no flow of this name"),
            next_step=f"if one of them is meant, set clusters.{alias}.cluster_id to it in the flow file, and reload "
            "the daemon (SIGHUP)"
            if known
            else f"bring {alias} back",
        )


def check_clusters(records: Mapping[bytes, bytes], uid: str, flow: FlowSpec, source: Cluster, target: Cluster) -> None:
    """Return if the clusters that answer are still the flow's source and target.

    Raises:
        WrongCluster: A different cluster answers at an address, as a rebuilt one does.
    """
    known = state.stored_flow(records, uid)
    if known is None:
        return
    if source.cluster_id != known.source_cluster_id:
        raise changed(flow, known.source_cluster_id, source.cluster_id)
    if target.cluster_id != known.target_cluster_id:
        raise WrongCluster(
            f"cluster {flow.target!r} is not the same one as before: flow {flow.name!r} copies to "
            f"{known.target_cluster_id}, and {target.cluster_id} answers now",
            cluster=flow.target,
            why="it was rebuilt, or its address leads elsewhere",
            next_step=f"correct clusters.{flow.target}.bootstrap; to copy to the new one, restart the daemon",
        )


def changed(flow: FlowSpec, before: str, now: str | None) -> WrongCluster:
    """Return the error for another cluster answering as the source of a flow that was created for a different one."""
    alias = flow.source
    return WrongCluster(
        f"cluster {alias!r} is not the same one as before: flow {flow.name!r} copies from {before}, and {now} answers "
        "now",
        cluster=alias,
        why=f"it was rebuilt, or its address leads elsewhere; {flow.target} may hold the last copy",
        next_step=f"correct clusters.{alias}.bootstrap; where {alias} is lost, open {flow.target} (replicator failover "
        f'{flow.name}); to copy from the new one, set clusters.{alias}.cluster_id: "{now}"',
    )


def starting_over(flow: FlowSpec) -> str:
    """Return what helps a flow whose target is open, and whose source will not come back."""
    alias, target = flow.source, flow.target
    return (
        f"if the old {alias} is still there, correct clusters.{alias}.bootstrap; if it is lost, start over from "
        f"{target}: in the flow file put a flow with a new name from {target} to {alias}, without `reverse_of`, in "
        f"place of {flow.name!r} and of its way back, and reload the daemon (SIGHUP)"
    )
