"""`replicator validate FILE`: is the file right, which rights does it need, and do the clusters match it?"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from replicator.cli.printing import findings, output
from replicator.errors import ConfigError
from replicator.model.spec import Offsets
from replicator.model.units import format_address, format_bootstrap

if TYPE_CHECKING:
    from replicator.core.acl.rights import Grant
    from replicator.model.operations.report import Report
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec, Pattern, Selection, Spec

SCHEMA_VERSION = 1
_WIDTH_MAX = 110
_WIDTH_PIPED = 100
_INDENT = "  "


class ValidateFormat(enum.StrEnum):
    """How the findings are printed."""

    TABLE = "table"
    JSON = "json"


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The flow file.", show_default=False)],
    connect: Annotated[bool, typer.Option("--connect", help="Check the clusters too; changes nothing there.")] = False,
    acls: Annotated[
        bool | None,
        typer.Option(
            "--acls/--no-acls",
            help="Print commands that grant the rights it needs.",
            show_default="only without --connect",
        ),
    ] = None,
    form: Annotated[ValidateFormat, typer.Option("--output", "-o", help="Output format.")] = ValidateFormat.TABLE,
) -> None:
    """Check a flow file, and optionally the clusters.

    --connect checks the clusters, their topics and our rights. Exits with 78 and lists all mistakes of the file; with
    3 if a check of --connect fails; else with 0.
    """
    from replicator.config.load import load  # pydantic and ruamel.yaml, only when used

    try:
        spec = load(file, os.environ)
    except ConfigError as error:
        error.next_step = "fix the file, then repeat the command"  # it would name this very command
        raise
    wanted = not connect if acls is None else acls
    if form is ValidateFormat.JSON:
        report = _validate(spec) if connect else None
        output.document(output.Format.JSON, _document(spec, report))
    else:
        _print_summary(spec)
        if wanted:
            _print_rights(spec)
        report = _validate(spec) if connect else None
        if report is not None:
            findings.show(report)
        else:
            output.line(f"{file}: ok")
            output.note("next: replicator validate --connect checks the clusters too")
    if report is not None:
        findings.judge(report)


def _validate(spec: Spec) -> Report:
    import asyncio

    from replicator.engine.preflight.check import preflight  # librdkafka, 40 ms

    return asyncio.run(preflight(spec))


# -- the file ---------------------------------------------------------------------------------------------------------


def _print_summary(spec: Spec) -> None:
    from replicator.config.advice import advice

    for cluster in spec.clusters:
        user = f" as {cluster.security.username}" if cluster.security.username else ""
        identity = f", id must be {cluster.cluster_id}" if cluster.cluster_id else ""
        servers = format_bootstrap(cluster.bootstrap)
        output.line(f"cluster {cluster.alias}: {servers} ({cluster.security.protocol}{user}{identity})")
    for flow in spec.flows:
        output.line(f"flow {flow.name}: {flow.source} -> {flow.target}")
        for name, value in _facts(spec, flow):
            output.line(f"{_INDENT}{name}: {value}")
    for text in advice(spec):
        output.line(f"warning: {text}")


def _facts(spec: Spec, flow: FlowSpec) -> Iterable[tuple[str, str]]:
    yield "topics", _selection(flow.topics)
    renamed = flow.rename
    if renamed.prefix is not None:
        yield "name on the target", f"{renamed.prefix}<name>"
    elif renamed.regex is not None:
        yield "name on the target", f"{renamed.regex} becomes {renamed.to}"
    limits = flow.limits
    rate = "no rate limit" if limits.bytes_per_second is None else f"{limits.bytes_per_second / 1e6:,.1f} MB/s"
    yield "limits", f"{limits.in_flight_bytes >> 20} MiB in flight, {rate}"
    offsets = Offsets.MAPPED if flow.both_ways else flow.offsets
    yield "starts at", f"{flow.start} (offsets: {offsets}, isolation: {flow.isolation})"
    if flow.both_ways:
        yield "left out", f"what flows wrote to {flow.source}; both sides are open and stay open"
    site = spec.daemon.site
    if site is not None and site != flow.target:
        yield "run by", f"the daemon whose site is {flow.target}, not this one ({site})"


def _selection(selection: Selection) -> str:
    excluded = f", but not {', '.join(map(_pattern, selection.exclude))}" if selection.exclude else ""
    return ", ".join(map(_pattern, selection.include)) + excluded


def _pattern(pattern: Pattern) -> str:
    return pattern.text if pattern.kind == "glob" else f"{pattern.kind} {pattern.text}"


# -- rights -----------------------------------------------------------------------------------------------------------


def _rights(spec: Spec, flow: FlowSpec) -> Iterable[tuple[ClusterSpec, str, Sequence[Grant]]]:
    """Yield each cluster, its role in the flow, and the rights needed there."""
    from replicator.core.acl.rights import source_rights, target_rights

    yield spec.cluster(flow.source), "source", source_rights(flow)
    yield spec.cluster(flow.target), "target", target_rights(flow)


def _print_rights(spec: Spec) -> None:
    from replicator.core.acl.commands import acl_command
    from replicator.core.acl.granted_names import wider_than_selection
    from replicator.core.acl.rights import NOT_NEEDED, principal

    output.line()
    output.line("commands that grant the rights it needs, if the cluster has an authorizer (--no-acls hides them)")
    for flow in spec.flows:
        for cluster, role, grants in _rights(spec, flow):
            who = principal(cluster.security)
            output.line()
            output.line(f"# flow {flow.name}: {role} {cluster.alias}")
            if who.note:
                output.line(f"# {who.text}: {who.note}")
            for grant in grants:
                output.line(f"# {grant.why}")
                output.line(acl_command(grant, cluster))
        if wider_than_selection(flow.topics):
            output.line("# an ACL knows only names and prefixes: these cover more than the flow selects")
    output.line()
    for text in NOT_NEEDED:
        output.line(f"# {text}")
    output.line()


# -- the clusters -----------------------------------------------------------------------------------------------------


def _document(spec: Spec, report: Report | None) -> dict[str, Any]:
    from replicator.config.advice import advice
    from replicator.core.acl.commands import acl_command
    from replicator.core.acl.rights import principal

    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "file": str(spec.path),
        "clusters": [
            {
                "alias": cluster.alias,
                "bootstrap": [format_address(address) for address in cluster.bootstrap],
                "protocol": cluster.security.protocol,
                "username": cluster.security.username,
                "cluster_id": cluster.cluster_id,
            }
            for cluster in spec.clusters
        ],
        "flows": [
            {"flow": flow.name, "source": flow.source, "target": flow.target, "topics": _selection(flow.topics)}
            for flow in spec.flows
        ],
        "rights": [
            {
                "flow": flow.name,
                "cluster": cluster.alias,
                "role": role,
                "principal": principal(cluster.security).text,
                "commands": [acl_command(grant, cluster) for grant in grants],
            }
            for flow in spec.flows
            for cluster, role, grants in _rights(spec, flow)
        ],
        "warnings": list(advice(spec)),
        "connect": None,
    }
    if report is not None:
        from replicator.model.operations.report import to_json

        document["connect"] = to_json(report)
    return document
