"""Converts a whole properties file of MirrorMaker 2 to a flow file, and reports what became of each of its lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from replicator.config.lint.flows import same_cluster, shared_target_topic
from replicator.config.mm2.clusters import ClusterDraft, cluster
from replicator.config.mm2.context import ImportContext, stems
from replicator.config.mm2.flows.flows import FlowDraft, flow
from replicator.config.mm2.header import header
from replicator.config.mm2.layers import Layers, ScopedEntry, layers
from replicator.config.mm2.options import FLOW_ONLY, known
from replicator.config.mm2.properties import Entry, Properties, read
from replicator.config.mm2.report import Fate, Report, Row
from replicator.config.mm2.yaml_text import comment, commented, indented, scalar
from replicator.config.shape_types import SCHEMA_NAME
from replicator.config.yaml.mistakes import Mark, Mistakes
from replicator.errors import ConfigError
from replicator.model.security import ClusterSpec
from replicator.model.spec import CoordinatorSpec, DaemonSpec, Spec
from replicator.model.units import shown

_ALIAS = re.compile(SCHEMA_NAME, re.ASCII)
_ALIAS_SIGNS = "allowed: letters, digits, '.', '_', '-', at most 63, starting with a letter or digit"
_NAME_MAX = 63
_CONFIG = "connect-mirror-maker.sh reads such a file (mm2.properties)"


@dataclass(frozen=True, slots=True)
class Imported:
    """The text of a flow file that `replicator validate` accepts, and a row for each line that it was made from.

    `variables` maps each environment variable that has to be set to a description of its value.
    """

    text: str
    rows: tuple[Row, ...]
    variables: dict[str, str]
    flows: tuple[str, ...]


def convert(data: bytes, file: str) -> Imported:
    """Convert the bytes of a properties file; `file` is its name in messages.

    Raises:
        ConfigError: The file is not valid; `problems` holds each mistake as ``file:line:column: ...``.
    """
    mistakes = Mistakes(files=[file])
    properties = read(data, file, mistakes)
    if mistakes.found:
        raise _error(file, mistakes)
    clusters = next((entry for entry in properties.entries if entry.key == "clusters"), None)
    aliases = _aliases(clusters, file, mistakes)
    if clusters is None or not aliases:
        raise _error(file, mistakes)
    context = ImportContext(layers(properties, aliases, file, mistakes), Report(), stems(aliases))
    context.layers.of_all("clusters")
    context.report.add(clusters, Fate.CONVERTED, "clusters")
    drafts = [cluster(context, alias, clusters) for alias in aliases]
    flows = _flows(context, clusters, drafts)
    if mistakes.found:
        raise _error(file, mistakes)
    for row in (*_overwritten(properties), *_rest(context)):
        context.report.add(*row)
    return _imported(context, file, drafts, flows)


def _imported(
    context: ImportContext, file: str, drafts: Sequence[ClusterDraft], flows: Sequence[FlowDraft]
) -> Imported:
    rows = context.report.ordered()
    body = ["version: 1", "", "clusters:"]
    body += [line for draft in drafts for line in indented(draft.lines)]
    live = [draft for draft in flows if not draft.broken]
    body += ["", "flows:" if live else "flows: {}"]
    for draft in flows:
        lines = [f"{scalar(draft.spec.name)}:", *indented(draft.lines)]
        if draft.broken:
            lines = [comment(f"not written as a flow: {draft.broken}"), *commented(lines)]
        body += indented(lines)
    text = "\n".join([*header(file, rows, context.variables, flows), *body]) + "\n"
    return Imported(text, rows, dict(context.variables), tuple(draft.spec.name for draft in live))


def _aliases(clusters: Entry | None, file: str, mistakes: Mistakes) -> tuple[str, ...]:
    if clusters is None:
        mistakes.add(Mark(file, 1, 1), (), f"no `clusters`; {_CONFIG}")
        return ()
    aliases = tuple(dict.fromkeys(part.strip() for part in clusters.value.split(",") if part.strip()))
    mark = Mark(file, clusters.line, 1)
    if not aliases:
        mistakes.add(mark, ("clusters",), "is empty; needed: the aliases of the clusters, separated by commas")
    refused = [alias for alias in aliases if not _ALIAS.fullmatch(alias)]
    for alias in refused:
        mistakes.add(mark, ("clusters",), f"{shown(alias)} cannot be an alias here; {_ALIAS_SIGNS}")
    return () if refused else aliases


def _flows(context: ImportContext, clusters: Entry, drafts: Sequence[ClusterDraft]) -> list[FlowDraft]:
    found: list[FlowDraft] = []
    for source, target in ((a, b) for a in context.layers.aliases for b in context.layers.aliases if a != b):
        enabled = context.layers.of_flow(source, target, "enabled")
        if enabled is not None and context.layers.truth(enabled, default=False):
            name = _name(source, target, [draft.spec.name for draft in found])
            found.append(flow(context, source, target, name, enabled))
    if not found:
        first = context.layers.aliases[0]
        other = next((alias for alias in context.layers.aliases if alias != first), "OTHER")
        context.layers.wrong(clusters, f"no flow is enabled; needed: {first}->{other}.enabled = true")
    _conflicts(drafts, found)
    for draft in found:
        name, why = draft.spec.name, draft.broken
        fate, text = (Fate.BY_HAND, f"flow {name} is a comment: {why}") if why else (Fate.CONVERTED, f"flow {name}")
        context.report.add(draft.enabled, fate, text)
    return found


def _name(source: str, target: str, taken: Sequence[str]) -> str:
    name = f"{source}-to-{target}"
    if len(name) <= _NAME_MAX and name not in taken:
        return name
    return f"{name[: _NAME_MAX - 4]}-{len(taken) + 1}"


def _conflicts(drafts: Sequence[ClusterDraft], flows: Sequence[FlowDraft]) -> None:
    """Mark the flows that our rules about two clusters or two flows refuse."""
    # A cluster whose address is in a variable gets a unique one here: it cannot be compared.
    clusters = tuple(ClusterSpec(one.alias, one.bootstrap or ((f"{one.alias}.invalid", 1),)) for one in drafts)
    spec = Spec(Path(), DaemonSpec(Path()), CoordinatorSpec(), clusters, tuple(draft.spec for draft in flows))
    for at, draft in enumerate(flows):
        one = draft.spec
        why = same_cluster(spec, one.source, one.target)
        if why and not draft.broken:
            draft.broken = f"'{one.source}' {why}; a flow needs two clusters"
        for earlier in flows[:at]:
            if draft.broken or earlier.broken or not same_cluster(spec, one.target, earlier.spec.target):
                continue
            topic = shared_target_topic(earlier.spec, one)
            if topic is not None:
                draft.broken = (
                    f"it feeds the same topics as {earlier.spec.name} (for example {topic});"
                    " narrow include, add exclude, or rename, then uncomment it"
                )


def _overwritten(properties: Properties) -> Iterator[tuple[Entry, Fate, str]]:
    last = {entry.key: entry.line for entry in properties.entries}
    for entry in properties.overruled:
        yield entry, Fate.OVERRULED, f"the key is repeated: line {last[entry.key]} counts, the last one"


def _rest(context: ImportContext) -> Iterator[tuple[Entry, Fate, str]]:
    """Yield what became of every entry that has no row yet."""
    silent = {(item.source, item.target) for item in _silent(context.layers)}
    reported = {row.line for row in context.report.rows}
    for item in (one for one in context.layers.scoped.values() if one.entry.line not in reported):
        by = context.layers.overruled.get(item.entry.line)
        if by is not None:
            yield item.entry, Fate.OVERRULED, f"line {by} decides; a cluster has one set of client options here"
        elif item.target and item.name == "enabled":
            yield item.entry, Fate.CONVERTED, "disabled: no flow"
        elif (item.source, item.target) in silent:
            pair = f"{item.source}->{item.target}"
            yield item.entry, Fate.NONE, f"{pair} is not enabled; instead: {pair}.enabled = true, and import again"
        else:
            yield (item.entry, *_unused(context.layers, item))


def _silent(settings: Layers) -> Iterator[ScopedEntry]:
    for item in settings.scoped.values():
        if item.target:
            enabled = settings.scoped.get((item.source, item.target, "enabled"))
            if enabled is None or enabled.entry.value.lower() != "true":
                yield item


def _unused(settings: Layers, item: ScopedEntry) -> tuple[Fate, str]:
    if item.source and not item.target and item.name in FLOW_ONLY:
        return (
            Fate.NONE,
            f"MirrorMaker 2 does not read it for one cluster; instead: {item.source}->TARGET.{item.name}",
        )
    found = known(item.name)
    if found is not None:
        return found
    if item.entry.key in settings.aliases and item.entry.value.startswith("->"):
        return Fate.BY_HAND, "a space ends the key; instead: A->B.option without spaces, and import again"
    if "->" in item.entry.key:
        return (
            Fate.BY_HAND,
            f"no such pair of clusters, known: {', '.join(settings.aliases)}; instead: correct it, and import again",
        )
    if item.name in FLOW_ONLY:
        return Fate.OVERRULED, "each flow has its own"
    return Fate.NONE, "not a known option of MirrorMaker 2; check its spelling"


def _error(file: str, mistakes: Mistakes) -> ConfigError:
    return ConfigError(
        f"{file} cannot be read as a MirrorMaker 2 properties file",
        problems=mistakes.lines(),
        next_step=f"correct it, then: replicator import mm2 {file}",
    )
