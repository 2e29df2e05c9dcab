"""The command that grants a right, and which right a refusal was about."""

from __future__ import annotations

from replicator.core.acl.rights import Grant, ResourceKind, principal
from replicator.model.security import ClusterSpec
from replicator.model.text import command
from replicator.model.units import format_bootstrap


def acl_command(grant: Grant, cluster: ClusterSpec) -> str:
    """Return the command of Kafka's own tool that grants us one right."""
    servers, who = format_bootstrap(cluster.bootstrap), principal(cluster.security).text
    words = ["kafka-acls.sh", "--bootstrap-server", servers, "--add", "--allow-principal", who]
    for operation in grant.operations:
        words += ["--operation", operation.value]
    words.append(grant.kind.value)
    if grant.kind is not ResourceKind.CLUSTER:
        words.append(grant.names.text)
    if grant.names.prefixed:
        words += ["--resource-pattern-type", "prefixed"]
    return command(*words)


def missing_right(cluster: ClusterSpec, grant: Grant, said: str) -> str:
    """Return which right is missing, on what, for whom as far as the file says, and the command that grants it.

    Args:
        cluster: The cluster that refused.
        grant: The missing right.
        said: The cluster's own words.
    """
    who = principal(cluster.security)
    operations = ", ".join(grant.operations)
    resource = "the cluster" if grant.kind is ResourceKind.CLUSTER else f"{grant.kind[2:]} {grant.names.text}"
    to = f" to {who.text}" if who.known else ""
    note = "" if who.known else f" # {who.text}: {who.note}"
    text = f"{cluster.alias} does not allow {operations} on {resource}{to} ({said})"
    return f"{text}; next: {acl_command(grant, cluster)}{note}"
