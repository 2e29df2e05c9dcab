"""Judges rights: which are missing, with the command that grants them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from replicator.core.acl.commands import acl_command
from replicator.core.acl.granted_names import Names
from replicator.core.acl.rights import (
    REQUIRED_ON_MIRROR,
    REQUIRED_ON_ORIGINS,
    REQUIRED_ON_SHARED,
    REQUIRED_ON_SOURCE_TOPIC,
    REQUIRED_ON_STATE,
    TRANSACTIONAL_PREFIX,
    Grant,
    Operation,
    ResourceKind,
    lacking,
    on_cluster,
    on_group,
    on_topic,
)
from replicator.core.copy.writing.producer_memory import EXPIRATION
from replicator.engine.preflight.phrases import count, some
from replicator.model.names import STATE_TOPIC
from replicator.model.operations.report import Check, fail, ok
from replicator.model.security import ClusterSpec


def source_rights(allowed: Mapping[str, frozenset[Operation] | None], cluster: ClusterSpec) -> list[Check]:
    """Judge our rights on the selected topics of the source."""
    return _rights(allowed, REQUIRED_ON_SOURCE_TOPIC, cluster, "selected topics")


def mirror_rights(
    allowed: Mapping[str, frozenset[Operation] | None], cluster: ClusterSpec, *, both_ways: bool = False
) -> list[Check]:
    """Judge our rights on the existing mirrors on the target."""
    needed = REQUIRED_ON_SHARED if both_ways else REQUIRED_ON_MIRROR
    return _rights(allowed, needed - {Operation.CREATE}, cluster, "mirrors")  # they exist


def origin_rights(allowed: Mapping[str, frozenset[Operation] | None], cluster: ClusterSpec) -> list[Check]:
    """Judge our rights on the source's state topic, which names the flows that write there."""
    return _rights(allowed, REQUIRED_ON_ORIGINS, cluster, STATE_TOPIC)


def state_rights(allowed: Mapping[str, frozenset[Operation] | None], cluster: ClusterSpec) -> list[Check]:
    """Judge our rights on our state topic on the target."""
    return _rights(allowed, REQUIRED_ON_STATE - {Operation.CREATE}, cluster, STATE_TOPIC)


def groups(
    allowed: Mapping[str, frozenset[Operation] | None], needed: Iterable[Operation], cluster: ClusterSpec
) -> list[Check]:
    """Judge our rights on the groups that follow."""
    return _rights(allowed, needed, cluster, "groups that follow", on_group)


def following(names: Collection[str], cluster: ClusterSpec) -> Check:
    """Report which consumer groups of the source follow."""
    if not names:
        text = f"{cluster.alias} currently shows no consumer group that follows; those that appear later will"
        return ok("groups", text)
    return ok("groups", f"{count(len(names), 'consumer group')} of {cluster.alias} to follow: {some(names)}")


def _rights(
    found: Mapping[str, frozenset[Operation] | None],
    needed: Iterable[Operation],
    cluster: ClusterSpec,
    what: str,
    on: Callable[..., Grant] = on_topic,
) -> list[Check]:
    if not found:
        return []
    if all(allowed is None for allowed in found.values()):
        return [ok("rights", f"{cluster.alias} does not say what this user may do to the {what}")]
    by_lack: dict[tuple[Operation, ...], list[str]] = {}
    for name, allowed in found.items():
        by_lack.setdefault(lacking(needed, allowed), []).append(name)
    checks = [
        fail(
            "rights",
            f"{cluster.alias} does not allow {', '.join(lack)} on {some(names)}",
            acl_command(on(min(names), *lack), cluster),
        )
        for lack, names in by_lack.items()
        if lack
    ]
    return checks or [ok("rights", f"{cluster.alias} allows what is needed on the {what}")]


def grant(cluster: ClusterSpec, topic: str, operations: tuple[Operation, ...]) -> str:
    """Return the command that grants these rights on a topic."""
    return acl_command(on_topic(topic, *operations), cluster)


def rights_of_cluster(operations: frozenset[str] | None, cluster: ClusterSpec) -> Sequence[Check]:
    """Report if the right on the cluster itself is missing, provided the cluster says so."""
    if operations is None or operations & {"DESCRIBE_CONFIGS", "ALTER_CONFIGS", "ALL"}:
        return ()
    return (
        fail(
            "rights",
            f"{cluster.alias} does not allow DescribeConfigs on the cluster: {EXPIRATION} cannot be read",
            acl_command(on_cluster(Operation.DESCRIBE_CONFIGS), cluster),
        ),
    )


def transactional_id(cluster: ClusterSpec, *, allowed: bool) -> Sequence[Check]:
    """Report if our transactional ids may not even be described."""
    if allowed:
        return ()
    names = Names(TRANSACTIONAL_PREFIX, prefixed=True)
    grant = Grant(ResourceKind.TRANSACTIONAL_ID, names, (Operation.WRITE, Operation.DESCRIBE))
    return (
        fail(
            "rights",
            f"{cluster.alias} does not allow Describe on transactional ids that begin with {TRANSACTIONAL_PREFIX}",
            acl_command(grant, cluster),
        ),
    )
