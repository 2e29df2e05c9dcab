"""Converts the sound shape of a file into the values that every other package reads."""

from __future__ import annotations

from pathlib import Path

from replicator.config.shape import ClusterShape, DaemonShape, FileShape, FlowShape, PrefixShape, RegexShape
from replicator.model.access_rules import AccessRule
from replicator.model.security import ClusterSpec, Security
from replicator.model.spec import (
    AclPolicy,
    CoordinatorSpec,
    DaemonSpec,
    FlowSpec,
    GroupSync,
    Limits,
    Objectives,
    Pattern,
    PatternKind,
    Rename,
    Selection,
    Spec,
    TlsSpec,
    TopicConfigs,
    Verification,
)


def to_spec(shape: FileShape, path: Path) -> Spec:
    """Return the file's meaning; relative paths have been resolved already."""
    return Spec(
        path=path,
        daemon=_daemon(shape.daemon, path.parent),
        coordinator=CoordinatorSpec(
            lease_ttl_seconds=shape.coordinator.lease_ttl,
            lease_margin_seconds=shape.coordinator.lease_margin,
            store=shape.coordinator.store,
            endpoints=shape.coordinator.endpoints,
            stops_on_loss=shape.coordinator.on_loss == "stop",
        ),
        clusters=tuple(_cluster(alias, cluster) for alias, cluster in shape.clusters.items()),
        flows=tuple(_flow(name, flow) for name, flow in shape.flows.items()),
    )


def _daemon(daemon: DaemonShape, base: Path) -> DaemonSpec:
    tls = daemon.tls
    return DaemonSpec(
        state_dir=base / daemon.state_dir,
        site=daemon.site,
        http=daemon.http,
        http_public=daemon.http_public,
        http_hosts=daemon.http_hosts,
        rpc=daemon.rpc,
        tls=None if tls is None else TlsSpec(tls.cert_file, tls.key_file, tls.ca_file),
        access=tuple(AccessRule(rule.identity, rule.roles, rule.flows) for rule in daemon.access),
    )


def _cluster(alias: str, cluster: ClusterShape) -> ClusterSpec:
    security = cluster.security
    return ClusterSpec(
        alias=alias,
        bootstrap=cluster.bootstrap,
        cluster_id=cluster.cluster_id,
        security=Security(
            protocol=security.protocol,
            mechanism=security.mechanism,
            username=security.username,
            password=security.password,
            password_file=security.password_file,
            token_file=security.token_file,
            token_command=security.token_command,
            ca_file=security.ca_file,
            cert_file=security.cert_file,
            key_file=security.key_file,
            check_hostname=security.check_hostname,
        ),
        connections_per_broker=cluster.client.connections_per_broker,
        request_timeout_seconds=cluster.client.request_timeout,
        doubt_margin_seconds=cluster.client.doubt_margin,
    )


def _flow(name: str, flow: FlowShape) -> FlowSpec:
    rename = flow.topics.rename
    return FlowSpec(
        name=name,
        source=flow.source,
        target=flow.target,
        topics=Selection(_patterns(flow.topics.include), _patterns(flow.topics.exclude)),
        rename=Rename(rename.prefix, rename.regex, rename.to),
        start=flow.start,
        offsets=flow.offsets,
        fill_limit=flow.fill_limit,
        follow_log_start=flow.follow_log_start,
        follow_log_start_limit=flow.follow_log_start_limit,
        isolation=flow.isolation,
        loop_guard=flow.loop_guard,
        replication_factor=flow.replication_factor,
        topic_configs=TopicConfigs(flow.topic_configs.exclude, tuple(flow.topic_configs.override.items())),
        shards=flow.shards,
        limits=Limits(flow.limits.in_flight_bytes, flow.limits.bytes_per_second),
        objectives=Objectives(flow.objectives.rpo, flow.objectives.lag_records),
        reverse_of=flow.reverse_of,
        verify=Verification(flow.verify.continuous, flow.verify.bytes_per_second),
        group_sync=GroupSync(
            Selection(_patterns(flow.groups.include), _patterns(flow.groups.exclude)), flow.groups.sync_every
        ),
        acls=AclPolicy(flow.acls.mirror, flow.acls.lock_target),
    )


def _patterns(patterns: tuple[str | PrefixShape | RegexShape, ...]) -> tuple[Pattern, ...]:
    return tuple(_pattern(pattern) for pattern in patterns)


def _pattern(pattern: str | PrefixShape | RegexShape) -> Pattern:
    if isinstance(pattern, PrefixShape):
        return Pattern(PatternKind.PREFIX, pattern.prefix)
    if isinstance(pattern, RegexShape):
        return Pattern(PatternKind.REGEX, pattern.regex)
    return Pattern(PatternKind.GLOB, pattern)
