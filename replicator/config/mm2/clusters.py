"""Converts one cluster of MirrorMaker 2: its address, its security, its time-out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from replicator.config.mm2 import certificates, credentials
from replicator.config.mm2.context import ImportContext
from replicator.config.mm2.layers import provided
from replicator.config.mm2.properties import Entry
from replicator.config.mm2.report import Fate
from replicator.config.mm2.yaml_text import Lines, indented, mapping, said, scalar
from replicator.model.security import Protocol
from replicator.model.units import format_bootstrap, format_duration, parse_bootstrap

_SCHEME = re.compile(r"(^|,)\s*[A-Za-z_]+://")


@dataclass(frozen=True, slots=True)
class ClusterDraft:
    """One cluster as text. `bootstrap` is empty if a variable holds the addresses."""

    alias: str
    bootstrap: tuple[tuple[str, int], ...]
    lines: Lines


def cluster(context: ImportContext, alias: str, clusters: Entry) -> ClusterDraft:
    """Convert one cluster; what cannot be understood is noted as a mistake."""
    entry = context.layers.of_cluster(alias, "bootstrap.servers")
    if entry is None or not entry.value:
        context.layers.wrong(entry or clusters, f"no address for '{alias}'; needed: {alias}.bootstrap.servers")
        return ClusterDraft(alias, (), [])
    addresses, text = _bootstrap(context, alias, entry)
    context.report.add(entry, Fate.CONVERTED, f"clusters.{alias}.bootstrap")
    lines = [said(entry, ""), f"bootstrap: {text}", "# cluster_id: recommended: a cluster with another id is refused"]
    lines += mapping("security", _security(context, alias))
    lines += mapping("client", _client(context, alias))
    return ClusterDraft(alias, addresses, [f"{scalar(alias)}:", *indented(lines)])


def _bootstrap(context: ImportContext, alias: str, entry: Entry) -> tuple[tuple[tuple[str, int], ...], str]:
    if provided(entry.value):
        name = context.layers.variable(entry.value)
        return (), context.variable(alias, "BOOTSTRAP", f"host:port,host:port of {alias}", name=name)
    try:
        addresses = parse_bootstrap(_SCHEME.sub(r"\1", entry.value).strip(", "))
    except ValueError as error:
        context.layers.wrong(entry, str(error))
        return (), '""'
    return addresses, json.dumps(format_bootstrap(addresses))


def _security(context: ImportContext, alias: str) -> Lines:
    layers = context.layers
    entry = layers.of_cluster(alias, "security.protocol")
    if entry is None:
        return []
    if entry.value.upper() not in set(Protocol):
        layers.wrong(entry, f"must be one of {', '.join(Protocol)}")
        return []
    protocol = Protocol(entry.value.upper())
    context.report.add(entry, Fate.CONVERTED, f"clusters.{alias}.security.protocol")
    lines = [said(entry, ""), f"protocol: {protocol}"]
    if protocol.sasl:
        lines += credentials.sasl(context, alias, encrypted=protocol.tls)
    if protocol.tls:
        lines += certificates.tls(context, alias)
    return lines


def _client(context: ImportContext, alias: str) -> Lines:
    entry = context.layers.of_cluster(alias, "request.timeout.ms")
    if entry is None:
        return []
    milliseconds = context.layers.whole(entry)
    if milliseconds <= 0:
        context.layers.wrong(entry, "must be above 0")
        return []
    context.report.add(entry, Fate.CONVERTED, f"clusters.{alias}.client.request_timeout")
    return [said(entry, "for all requests to this cluster"), f"request_timeout: {format_duration(milliseconds / 1000)}"]
