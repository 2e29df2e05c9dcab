"""Every rule of a flow file, in order; those about the daemon, its coordinator and the ends of flows are here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from replicator.config.check import Checked
from replicator.config.lint.flows import (
    bootstraps,
    flow_rules,
    reverses,
    same_cluster,
    shared_targets,
)
from replicator.config.lint.rings import rings
from replicator.config.lint.rule import Rule
from replicator.config.lint.security import cluster_security, daemon_security
from replicator.config.yaml.mistakes import KeyPath, Mistakes, did_you_mean
from replicator.model.spec import Spec
from replicator.model.units import format_duration, is_loopback

NOT_YET: tuple[tuple[str, tuple[Any, ...]], ...] = (
    # Path of the key, and the values (as written in a file) that this version offers.
    # A later version deletes the row of the feature that it adds.
    ("daemon.workers", (1,)),
    ("clusters.*.client.connections_per_broker", (1,)),
    ("flows.*.strategy", ("sequence",)),
    ("flows.*.limits.bytes_per_second", ("unlimited",)),
)


def lint(checked: Checked, spec: Spec, mistakes: Mistakes) -> None:
    """Note every mistake that no single key shows."""
    rule = Rule(checked, mistakes)
    _not_yet(rule)
    _daemon(rule)
    daemon_security(rule)
    for alias in checked.shape.clusters:
        cluster_security(rule, alias)
    _ends(rule, spec)
    for flow in spec.flows:
        flow_rules(rule, flow)
    shared_targets(rule, spec)
    rings(rule, spec)
    reverses(rule, spec)


def _not_yet(rule: Rule) -> None:
    values = rule.checked.shape.model_dump(mode="json", by_alias=True)
    for place, offered in NOT_YET:
        for path, value in _values(values, tuple(place.split(".")), ()):
            if value not in offered:
                words = ", ".join(_written(one) for one in offered)
                rule.note(path, f"{_written(value)} is not available in this version; allowed: {words}")


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "this list" if isinstance(value, list) and value and value != ["*"] else str(value)


def _values(value: Any, steps: tuple[str, ...], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if not steps:
        yield path, value
        return
    for key in value if steps[0] == "*" else steps[:1]:
        yield from _values(value[key], steps[1:], (*path, key))


def _daemon(rule: Rule) -> None:
    shape = rule.checked.shape
    site = shape.daemon.site
    if site is not None:
        _known_alias(rule, ("daemon", "site"), site)
    timing = shape.coordinator
    if timing.lease_margin >= timing.lease_ttl:
        rule.note(
            ("coordinator", "lease_margin"),
            f"must be below lease_ttl, which is {format_duration(timing.lease_ttl)}",
            about=[("coordinator", "lease_ttl")],
        )
    if timing.store == "etcd" and not timing.endpoints:
        rule.note(("coordinator", "endpoints"), "is missing; store: etcd needs the addresses of its members")
    if timing.store == "etcd" and shape.daemon.tls is None and not all(is_loopback(one[0]) for one in timing.endpoints):
        rule.note(("coordinator", "endpoints"), "are not loopback, so etcd is reached by TLS; needed: daemon.tls")
    if shape.daemon.http == shape.daemon.rpc:
        rule.note(("daemon", "http"), "is the same address as daemon.rpc", about=[("daemon", "rpc")])


def _aliases(rule: Rule) -> list[str]:
    """Return every alias of the file, also those of clusters with mistakes."""
    cut = [path[1] for path in rule.checked.cut if len(path) > 1 and path[0] == "clusters"]
    return list(dict.fromkeys([*rule.checked.shape.clusters, *map(str, cut)]))


def _known_alias(rule: Rule, path: KeyPath, alias: str) -> bool:
    aliases = _aliases(rule)
    if alias not in aliases:
        allowed = ", ".join(aliases) or "none is defined"
        rule.note(path, f"no cluster '{alias}'; allowed: {allowed}{did_you_mean(alias, aliases)}")
    return alias in rule.checked.shape.clusters


def _ends(rule: Rule, spec: Spec) -> None:
    for flow in spec.flows:
        source, target = ("flows", flow.name, "from"), ("flows", flow.name, "to")
        known = [_known_alias(rule, source, flow.source), _known_alias(rule, target, flow.target)]
        why = same_cluster(spec, flow.source, flow.target) if all(known) else ""
        if flow.source == flow.target:
            rule.note(target, "is the cluster it copies from; allowed: another cluster", about=[source])
        elif why:
            rule.note(
                target,
                f"is the cluster it copies from: '{flow.source}' {why}; allowed: another cluster",
                about=[source, *bootstraps(flow.source, flow.target)],
            )
