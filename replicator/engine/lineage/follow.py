"""Which cluster a flow copies from, whatever its file says: the record on its target decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.lineage.sources import Source, moved_from
from replicator.engine.lineage.move import carry_out
from replicator.engine.lineage.records import lineage_of, lineages_named
from replicator.engine.state import records as state
from replicator.errors import Conflict, FlowMoves

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.core.lineage.sources import Lineage
    from replicator.engine.state.ownership.between import ClusterPair
    from replicator.engine.state.topic.log import StateLog
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster


def lineage_meant(
    records: Mapping[bytes, bytes], flow: FlowSpec, between: ClusterPair, target: Cluster
) -> Lineage | None:
    """Return the lineage of the flow that a file means; None if nothing identifies it, or it was never started.

    That is the flow of that name from the file's source; or the one that was moved away from it; or the one that this
    daemon ran before its file named another source.
    """
    named = list(lineages_named(records, flow.name, target.cluster_id))
    ids = between.ids()
    exact = next((one for each in ids for one in named if one.source.cluster_id == each), None)
    if exact is not None:
        return exact
    moved = next((one for each in ids if (one := moved_from(Source(flow.source, each), named)) is not None), None)
    if moved is not None or any(one.source.alias == flow.source for one in named):
        return moved
    before = [one for one in named if between.ran_from(one.source.alias, one.source.cluster_id)]
    return before[0] if len(before) == 1 else None


async def follow_lineage(
    flow: FlowSpec,
    between: ClusterPair,
    target: Cluster,
    state_log: StateLog,
    silence_seconds: float,
    tell: Callable[[str], None],
) -> None:
    """Return if the flow copies from the source that this daemon has for it, or that is not known yet.

    An order to move it is carried out first.

    Raises:
        FlowMoves: It copies from another cluster.
        Conflict: The file names another source than before, and nobody has ordered the move.
        KafkaError: The target refuses.
    """
    await state_log.read_to_end()
    lineage = lineage_meant(state_log.records, flow, between, target)
    if lineage is None:
        return
    if lineage.ordered is not None:
        await carry_out(flow.name, lineage.uid, target, state_log, silence_seconds, tell)
        lineage = lineage_of(state.get_flow(state_log.records, lineage.uid))
    if lineage.source.cluster_id in between.ids() or lineage.source.alias == flow.source:
        return
    if not any(one.cluster_id in between.ids() for one in lineage.earlier):
        raise Conflict(
            f"flow {flow.name!r} has copied from {lineage.source} so far, and the flow file says {flow.source}",
            why="its topics on the target hold what they were copied from",
            next_step=f"to go on from {flow.source} in place: replicator flow repoint {flow.name} --from "
            f"{flow.source}; to run both, give this one another name",
        )
    raise FlowMoves(
        f"flow {flow.name!r} copies from {lineage.source} by now",
        (lineage.source.alias, lineage.source.cluster_id),
        next_step=f"set `from: {lineage.source.alias}` in the flow file",
    )
