"""Converts one flow A->B of MirrorMaker 2."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.config.mm2.context import ImportContext
from replicator.config.mm2.flows.java_regex import NotOurs, names, patterns
from replicator.config.mm2.flows.selection import topics
from replicator.config.mm2.flows.topic_settings import EXACT_COPY, KNOWN
from replicator.config.mm2.properties import Entry
from replicator.config.mm2.report import Fate
from replicator.config.mm2.yaml_text import Lines, comment, mapping, pattern_text, said, scalar, sequence
from replicator.model.spec import FlowSpec
from replicator.model.units import format_duration

_FACTOR_MAX = 2**15 - 1
_GROUPS_EXCLUDE = "console-consumer-.*, connect-.*, __.*"


@dataclass(slots=True)
class FlowDraft:
    """One flow as text (without its name), and as the values that rules about two flows need.

    `enabled` is the entry that enables it. `broken` says why it can only be a comment, or is empty.
    """

    enabled: Entry
    spec: FlowSpec
    lines: Lines
    broken: str


def flow(context: ImportContext, source: str, target: str, name: str, enabled: Entry) -> FlowDraft:
    """Convert one flow; what cannot be understood is noted as a mistake."""
    chosen = topics(context, source, target)
    lines = [said(enabled, ""), f"from: {scalar(source)}", f"to: {scalar(target)}", *mapping("topics", chosen.lines)]
    lines += _reading(context, source, target)
    lines += _replicas(context, source, target)
    lines += _settings(context, source, target)
    lines += _groups(context, source, target)
    lines += _acls(context, source, target)
    spec = FlowSpec(name=name, source=source, target=target, topics=chosen.selection, rename=chosen.rename)
    return FlowDraft(enabled, spec, lines, chosen.broken)


def _reading(context: ImportContext, source: str, target: str) -> Lines:
    lines: Lines = []
    reset = context.layers.of_reader(source, target, "auto.offset.reset")
    if reset is not None:
        start = "latest" if reset.value == "latest" else "earliest"
        context.report.add(reset, Fate.CONVERTED, f"start of {source} to {target}")
        lines += [
            said(reset, "for topics found at the first start; later ones from their first record"),
            f"start: {start}",
        ]
    level = context.layers.of_reader(source, target, "isolation.level")
    if level is None:
        lines.append(comment("isolation: MirrorMaker 2 copies aborted records by default; for that: read_uncommitted"))
        return lines
    isolation = "read_uncommitted" if level.value == "read_uncommitted" else "read_committed"
    context.report.add(level, Fate.CONVERTED, f"isolation of {source} to {target}")
    return [*lines, said(level, ""), f"isolation: {isolation}"]


def _replicas(context: ImportContext, source: str, target: str) -> Lines:
    entry = context.layers.of_flow(source, target, "replication.factor")
    if entry is None:
        return [comment("replication_factor: as on the source; MirrorMaker 2 would create topics with 2 replicas")]
    factor = context.layers.whole(entry)
    if 1 <= factor <= _FACTOR_MAX:
        context.report.add(entry, Fate.CONVERTED, f"replication_factor of {source} to {target}")
        return [said(entry, ""), f"replication_factor: {factor}"]
    context.report.add(
        entry, Fate.NONE, "the brokers' default cannot be requested; instead: a number, or as on the source"
    )
    return [said(entry, "the brokers' default cannot be requested"), "replication_factor: source"]


def _settings(context: ImportContext, source: str, target: str) -> Lines:
    lines: Lines = []
    sync = context.layers.of_flow(source, target, "sync.topic.configs.enabled")
    if sync is not None and context.layers.truth(sync, default=True):
        context.report.add(sync, Fate.BUILT_IN, "settings of topics are followed while running")
    elif sync is not None:
        why = "settings of topics always follow the source; instead: topic_configs.exclude, override"
        context.report.add(sync, Fate.NONE, why)
        lines.append(said(sync, why))
    refresh = context.layers.of_flow(source, target, "refresh.topics.enabled")
    if refresh is not None and context.layers.truth(refresh, default=True):
        context.report.add(refresh, Fate.BUILT_IN, "new topics and partitions are found while running")
    elif refresh is not None:
        why = "new topics of the selection are always found; instead: list full names in topics.include"
        context.report.add(refresh, Fate.NONE, why)
        lines.append(said(refresh, why))
    return [*lines, *mapping("topic_configs", _excluded_settings(context, source, target))]


def _excluded_settings(context: ImportContext, source: str, target: str) -> Lines:
    entry = context.layers.of_flow(source, target, "config.properties.exclude", "config.properties.blacklist")
    if entry is None:
        return []
    try:
        found, unknown = names(entry.value, KNOWN)
    except NotOurs as error:
        context.report.add(entry, Fate.BY_HAND, f"{error}; instead: list the settings in topic_configs.exclude")
        return [said(entry, f"{error}; list the settings"), "# exclude: []"]
    context.report.add(entry, Fate.CONVERTED, f"topic_configs.exclude of {source} to {target}")
    kept = [one for one in (*found, *unknown) if one not in EXACT_COPY]
    lines = [said(entry, "")]
    forced = [one for one in found if one in EXACT_COPY]
    if forced:
        lines.append(comment(f"set by the replicator itself, for an exact copy: {', '.join(forced)}"))
    return [*lines, *sequence("exclude", [scalar(one) for one in kept])] if kept else [*lines, "# exclude: []"]


def _groups(context: ImportContext, source: str, target: str) -> Lines:
    layers = context.layers
    sync = layers.of_flow(source, target, "sync.group.offsets.enabled")
    on = layers.truth(sync, default=False)
    chosen = {
        "include": layers.of_flow(source, target, "groups", "groups.whitelist"),
        "exclude": layers.of_flow(source, target, "groups.exclude", "groups.blacklist"),
    }
    every = layers.of_flow(source, target, "sync.group.offsets.interval.seconds")
    where = f"of {source} to {target}"
    if sync is not None:
        context.report.add(sync, Fate.CONVERTED, f"groups {where}")
    for key, entry in {**chosen, "sync_every": every}.items():
        if entry is not None and on:
            context.report.add(entry, Fate.CONVERTED, f"groups.{key} {where}")
        elif entry is not None:
            why = "sync.group.offsets.enabled is off: no group offsets are written to the target"
            context.report.add(entry, Fate.OVERRULED, why)
    if not on:
        remark = "no group offsets are written to the target"
        reason = (
            said(sync, remark)
            if sync is not None
            else comment("MirrorMaker 2 writes no group offsets to the target by default")
        )
        return [reason, "groups: {include: []}"]
    lines = [said(sync, "")]
    for key, default in (("include", ".*"), ("exclude", _GROUPS_EXCLUDE)):
        lines += _group_list(context, key, chosen[key], default)
    seconds = 60 if every is None else max(1, layers.whole(every))
    lines += [comment("sync_every: the default") if every is None else said(every, "")]
    return mapping("groups", [*lines, f"sync_every: {format_duration(seconds)}"])


def _group_list(context: ImportContext, key: str, entry: Entry | None, default: str) -> Lines:
    try:
        found = [
            pattern_text(one) for one in patterns(default if entry is None else entry.value, excludes=key == "exclude")
        ]
    except NotOurs as error:
        if entry is not None:
            context.report.add(entry, Fate.BY_HAND, f"{error}; instead: write groups.{key}")
        # No group follows until somebody has said which ones: extra groups would be worse.
        return [said(entry, str(error)), "include: []" if key == "include" else "# exclude: []"]
    remark = comment(f"{key}: the default") if entry is None else said(entry, "")
    return [remark, *sequence(key, found)]


def _acls(context: ImportContext, source: str, target: str) -> Lines:
    entry = context.layers.of_flow(source, target, "sync.topic.acls.enabled")
    on = context.layers.truth(entry, default=True)
    if entry is not None and on:
        context.report.add(entry, Fate.CONVERTED, f"acls.mirror of {source} to {target}")
    elif entry is not None:
        context.report.add(entry, Fate.CONVERTED, "acls.mirror is off unless written")
    if not on:
        return []
    remark = comment("MirrorMaker 2 copies ACLs by default") if entry is None else said(entry, "")
    return [remark, *mapping("acls", ["mirror: true"])]
