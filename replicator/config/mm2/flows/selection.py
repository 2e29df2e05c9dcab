"""Which topics a flow of MirrorMaker 2 copies, and their names on the target."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from replicator.config.mm2.context import ImportContext
from replicator.config.mm2.flows.java_regex import NotOurs, patterns
from replicator.config.mm2.layers import provided
from replicator.config.mm2.properties import Entry
from replicator.config.mm2.report import Fate
from replicator.config.mm2.yaml_text import Lines, comment, literal, pattern_text, said, sequence
from replicator.core.topics.selection import literal as full_name
from replicator.core.topics.selection import matches, reserved
from replicator.model.spec import Pattern, PatternKind, Rename, Selection

_DEFAULT_EXCLUDE = r"MirrorMaker's own default excludes, and its internal topics, are never matched by a pattern here"
_ANY_SIGN = "'?' matches any one character, as '.' did in the regex; write '.' if a dot was meant"
_DOTS = "a dot in a plain name is taken as a dot"
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,248}", re.ASCII)


@dataclass(slots=True)
class Topics:
    """The selection of one flow, as text and as values. `broken` says why the flow cannot be written, or is empty."""

    selection: Selection = field(default_factory=lambda: Selection(()))
    rename: Rename = field(default_factory=Rename)
    lines: Lines = field(default_factory=list)
    broken: str = ""


def topics(context: ImportContext, source: str, target: str) -> Topics:
    """Convert the lists of topics and the naming of one flow."""
    result = Topics()
    _filter(context, source, target, result)
    include, listed = _include(context, source, target, result)
    rename, renamed = _rename(context, source, target, result)
    exclude, left_out = _exclude(context, source, target, result, cycles=rename.prefix is not None)
    result.rename = rename
    sound, dropped = _sound(include, exclude)
    result.selection = Selection(sound, exclude)
    if not sound and not result.broken:
        result.broken = "no topic is left to copy"
    result.lines = [*listed, *dropped, *sequence("include", [pattern_text(one) for one in sound])]
    result.lines += left_out
    if exclude:
        result.lines += sequence("exclude", [pattern_text(one) for one in exclude])
    result.lines += renamed
    return result


def _filter(context: ImportContext, source: str, target: str, result: Topics) -> None:
    entry = context.layers.of_flow(source, target, "topic.filter.class")
    if entry is None:
        return
    name = entry.value.rpartition(".")[2]
    if name == "DefaultTopicFilter":
        context.report.add(entry, Fate.CONVERTED, "topics.include and topics.exclude")
        return
    result.broken = f"what {name} selects is not known here; list it in include and exclude, then uncomment the flow"
    context.report.add(entry, Fate.BY_HAND, "a Java class cannot be run; instead: topics.include and topics.exclude")


def _include(context: ImportContext, source: str, target: str, result: Topics) -> tuple[tuple[Pattern, ...], Lines]:
    entry = context.layers.of_flow(source, target, "topics", "topics.whitelist")
    if entry is None:
        return (Pattern(PatternKind.GLOB, "*"),), [comment("MirrorMaker 2 copies every topic unless told otherwise")]
    found = _list(context, entry, result, excludes=False)
    if found:
        context.report.add(entry, Fate.CONVERTED, f"topics.include of {source} to {target}")
    return found, [said(entry, ""), *_remarks(entry, found)]


def _exclude(
    context: ImportContext, source: str, target: str, result: Topics, *, cycles: bool
) -> tuple[tuple[Pattern, ...], Lines]:
    entry = context.layers.of_flow(source, target, "topics.exclude", "topics.blacklist")
    found: tuple[Pattern, ...] = ()
    lines = [comment(_DEFAULT_EXCLUDE)]
    if entry is not None:
        found = _list(context, entry, result, excludes=True)
        lines = [said(entry, ""), *_remarks(entry, found)]
        if found:
            context.report.add(entry, Fate.CONVERTED, f"topics.exclude of {source} to {target}")
    if cycles:
        own = _cycle(context, source, target)
        lines.append(
            comment(f"{own[0].text}: topics that came from {target} do not go back there, as in MirrorMaker 2")
        )
        found = tuple(dict.fromkeys([*found, *own]))
    return found, lines


def _cycle(context: ImportContext, source: str, target: str) -> tuple[Pattern, ...]:
    """Return what MirrorMaker's check for cycles leaves out: names that went through the target's alias."""
    sign = _separator(context, source, target)[1]
    first, later = f"{target}{sign}*", f"*{sign}{target}{sign}*"
    return (Pattern(PatternKind.GLOB, first), Pattern(PatternKind.GLOB, later))


def _list(context: ImportContext, entry: Entry, result: Topics, *, excludes: bool) -> tuple[Pattern, ...]:
    reason = "it comes from a config provider" if provided(entry.value) else ""
    if not reason:
        try:
            return patterns(entry.value, excludes=excludes)
        except NotOurs as error:
            reason = str(error)
    result.broken = f"line {entry.line}: {entry.key}: {reason}"
    context.report.add(entry, Fate.BY_HAND, f"{reason}; instead: write a new list, and uncomment the flow")
    return ()


def _remarks(entry: Entry, found: tuple[Pattern, ...]) -> Lines:
    globs = [pattern.text for pattern in found if pattern.kind is PatternKind.GLOB]
    lines = []
    if any("?" in text.replace("?*", "") for text in globs):
        lines.append(comment(_ANY_SIGN))
    if any("." in text and text in entry.value for text in globs if "*" not in text and "?" not in text):
        lines.append(comment(_DOTS))
    return lines


def _sound(include: tuple[Pattern, ...], exclude: tuple[Pattern, ...]) -> tuple[tuple[Pattern, ...], Lines]:
    """Return the includes that can match something, and a comment for each of the others."""
    reasons = {pattern: _useless(pattern, exclude) for pattern in include}
    lines = [comment(f"left out: {one.text}: {reason}") for one, reason in reasons.items() if reason]
    return tuple(one for one, reason in reasons.items() if not reason), lines


def _useless(pattern: Pattern, exclude: tuple[Pattern, ...]) -> str:
    if pattern.kind is not PatternKind.REGEX and reserved(pattern.text):
        return "topics __* and replicator.* are never copied"
    if full_name(pattern) and pattern.text.endswith((".internal", "-internal")):
        return "MirrorMaker 2 never copies internal topics"
    if pattern in exclude:
        return "it is excluded as well"
    if full_name(pattern) and not matches(Selection((pattern,), exclude), pattern.text):
        return "an exclude removes it"
    return ""


def _separator(context: ImportContext, source: str, target: str) -> tuple[Entry | None, str]:
    entry = context.layers.of_flow(source, target, "replication.policy.separator")
    return entry, "." if entry is None else entry.value


def _rename(context: ImportContext, source: str, target: str, result: Topics) -> tuple[Rename, Lines]:
    entry = context.layers.of_flow(source, target, "replication.policy.class")
    name = "DefaultReplicationPolicy" if entry is None else entry.value.rpartition(".")[2]
    if name != "DefaultReplicationPolicy":
        if "Identity" not in name and not result.broken:
            result.broken = (
                f"the naming of {name} is not known here; write topics.rename, or leave it out for the same names"
            )
        return Rename(), list(_same_names(context, entry, name))
    separator, sign = _separator(context, source, target)
    for one in (entry, separator):
        if one is not None:
            context.report.add(one, Fate.CONVERTED, f"topics.rename of {source} to {target}")
    if separator is not None and sign and not _PREFIX.fullmatch(sign):
        context.layers.wrong(separator, "no topic name can hold this separator")
    prefix = source + sign
    remark = said(separator or entry, "") if separator or entry else comment("DefaultReplicationPolicy, the default")
    return Rename(prefix=prefix), [remark, f"rename: {{prefix: {literal(prefix)}}}"]


def _same_names(context: ImportContext, entry: Entry | None, name: str) -> Iterator[str]:
    if entry is None:
        return
    if "Identity" in name:
        context.report.add(entry, Fate.CONVERTED, "topics keep their names: no topics.rename")
        yield said(entry, "topics keep their names")
        return
    why = "a Java class cannot be run; instead: topics.rename, or none for the same names, and uncomment the flow"
    context.report.add(entry, Fate.BY_HAND, why)
    yield said(entry, why)
