"""Findings about flows that the target already has: those of the same name, and owners of its topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.model.names import STATE_TOPIC
from replicator.model.operations.report import Check, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.core.topics.owner import Owner
    from replicator.state_pb import state_pb2 as pb


def known_flows(named: Sequence[pb.FlowRecord], source_id: str, target_id: str) -> list[Check]:
    """Report which flows of this name the state topic knows, and their sources.

    Args:
        named: All flows of the name.
        source_id: Id of the cluster that this flow copies from.
        target_id: Id of the cluster that has the state topic.
    """
    here = [one for one in named if one.target_cluster_id == target_id]
    mine = next((one for one in here if one.source_cluster_id == source_id), None)
    copied = [one for one in named if one.source_cluster_id == source_id and one.target_cluster_id != target_id]
    checks = []
    if mine is not None:
        checks.append(ok(STATE_TOPIC, f"there, and knows this flow (uid {mine.uid})"))
    elif copied:
        checks.append(
            fail(
                STATE_TOPIC,
                f"it has this flow with another target cluster ({copied[0].target_cluster_id})",
                "a copied state topic cannot be used: delete it here, or give the flow another name",
            )
        )
    else:
        checks.append(ok(STATE_TOPIC, "there, and this flow is not in it yet: the first start adds it"))
    others = [one for one in here if one is not mine]
    checks += [
        warn(
            STATE_TOPIC,
            f"flow {one.name} from {one.source_alias} (cluster {one.source_cluster_id}) is there too (uid {one.uid}): "
            f"a different flow, since its source is not {source_id}",
            "rename one of them: by name they cannot be told apart",
        )
        for one in others
    ]
    return checks


def owned(owner: Owner, topic: str, flow: str, source: str, source_id: str) -> Check:
    """Report which other flow owns a target topic.

    Args:
        owner: That flow.
        topic: The topic on the target.
        flow: Name of the flow being judged.
        source: Alias of that flow's source.
        source_id: The source's cluster id.
    """
    return fail(
        "mirrors",
        f"{owner.text(topic, source, source_id)}: it would stop as other_owner",
        owner.next_step(flow),
    )
