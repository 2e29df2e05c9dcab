"""Rules about one flow's topics, and about two flows that meet."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

from replicator.config.lint.rule import Rule
from replicator.config.yaml.mistakes import KeyPath, did_you_mean
from replicator.core.topics.regex import BadRegex, compiled
from replicator.core.topics.selection import (
    group_reserved,
    legal_topic_name,
    literal,
    matches,
    matches_group,
    reserved,
    target_name,
)
from replicator.model.spec import FlowSpec, Offsets, Pattern, PatternKind, Rename, Selection, Spec

FORCED_CONFIGS = (
    "compression.type",
    "message.timestamp.type",
    "message.timestamp.before.max.ms",
    "message.timestamp.after.max.ms",
)
"""Topic configs that an exact copy forces on the target; the source's values are held back and set at promotion."""

_CONFIG_NAME = re.compile(r"[a-z][a-z0-9.]*")
_WILDCARDS = re.compile(r"[*?]")
_ANY_TEXT = re.compile(r"(?:\.|\\[wd]|\[[^\]]*\])[*+]|\((?:\.|\\[wd]|\[[^\]]*\])[*+]\)")
_ESCAPED_SIGN = re.compile(r"\\([._-])")


def flow_rules(rule: Rule, flow: FlowSpec) -> None:
    """Note every mistake within one flow."""
    path: KeyPath = ("flows", flow.name)
    _patterns(rule, (*path, "topics", "include"), flow.topics, _TOPICS)
    _patterns(rule, (*path, "groups", "include"), flow.group_sync.groups, _GROUPS)
    _rename(rule, (*path, "topics", "rename"), flow.rename)
    _renamed_literals(rule, (*path, "topics", "include"), flow)
    _topic_configs(rule, (*path, "topic_configs"), flow)
    _both_ways(rule, path, flow)


def _both_ways(rule: Rule, path: KeyPath, flow: FlowSpec) -> None:
    """Note what is not possible where applications write to the target as well (`loop_guard: origin`)."""
    if not flow.both_ways:
        return
    guard = (*path, "loop_guard")
    if flow.offsets is Offsets.IDENTICAL:
        rule.note(
            (*path, "offsets"), "is not possible with loop_guard: origin; allowed: mapped, or auto", about=[guard]
        )
    if flow.group_sync.groups.include:
        rule.note(
            (*path, "groups"),
            "follow only to a side that nobody works on; needed with loop_guard: origin: groups: {include: []}",
            about=[guard],
        )
    if flow.reverse_of is not None:
        rule.note(
            (*path, "reverse_of"),
            "is for a side that stands by; with loop_guard: origin both flows run at once: remove it",
            about=[guard],
        )
    refused = (
        (("acls", "mirror"), flow.acls.mirror),
        (("acls", "lock_target"), flow.acls.lock_target),
        (("follow_log_start",), flow.follow_log_start),
        (("verify", "continuous"), flow.verify.continuous),
    )
    for place, is_set in refused:
        if is_set:
            rule.note(
                (*path, *place), "is not available with loop_guard: origin, where both sides are open", about=[guard]
            )


class _Names(NamedTuple):
    """What a selection selects, and how it is matched."""

    key: str
    never: str
    reserved: Callable[[str], bool]
    matches: Callable[[Selection, str], bool]


_TOPICS = _Names("topics", "topics __* and replicator.* are never copied", reserved, matches)
_GROUPS = _Names("groups", "groups __* and replicator.* never follow", group_reserved, matches_group)


def _patterns(rule: Rule, path: KeyPath, selection: Selection, names: _Names) -> None:
    excluded, seen = set(selection.exclude), set[Pattern]()
    for index, pattern in enumerate(selection.include):
        where = (*path, index)
        if pattern.kind is not PatternKind.REGEX and names.reserved(pattern.text):
            rule.note(where, f"matches nothing: {names.never}")
        elif pattern in excluded:
            rule.note(where, f"matches nothing: the same pattern is in {names.key}.exclude")
        elif literal(pattern) and not names.matches(Selection((pattern,), selection.exclude), pattern.text):
            rule.note(where, f"matches nothing: {names.key}.exclude removes it again")
        elif pattern in seen:
            rule.note(where, "appears twice")
        seen.add(pattern)


def _rename(rule: Rule, path: KeyPath, rename: Rename) -> None:
    prefix, regex, to = (*path, "prefix"), (*path, "regex"), (*path, "to")
    if rename.prefix is not None and (rename.regex is not None or rename.to is not None):
        rule.note(prefix, "excludes regex and to; allowed: prefix, or regex with to", about=[regex, to])
    elif rename.regex is not None and rename.to is None:
        rule.note(to, "is missing; needed: what regex is replaced with", about=[regex])
    elif rename.to is not None and rename.regex is None:
        rule.note(regex, "is missing; needed: the regex whose match is replaced", about=[to])
    elif rename.regex is not None and rename.to is not None:
        try:
            compiled(rename.regex).check_replacement(rename.to)
        except BadRegex as error:
            rule.note(to, f"does not fit regex: {error}", about=[regex])


def name_on_target(rename: Rename, name: str) -> str | None:
    """Return the target's name, or None if the rename is wrong (noted by `_rename`)."""
    try:
        return target_name(rename, name)
    except BadRegex:
        return None


def _renamed_literals(rule: Rule, path: KeyPath, flow: FlowSpec) -> None:
    first: dict[str, tuple[int, str]] = {}
    for index, pattern in enumerate(flow.topics.include):
        name = name_on_target(flow.rename, pattern.text) if literal(pattern) else None
        if name is not None and not legal_topic_name(name):
            rule.note(
                (*path, index),
                f"its name on the target, {name!r}, is not legal; allowed: 1 to 249 letters, digits, '.', '_', '-'",
                about=[(*path[:-1], "rename")],
            )
        elif name is not None and matches(flow.topics, pattern.text):
            before, other = first.setdefault(name, (index, pattern.text))
            if other != pattern.text:
                rule.note(
                    (*path, index),
                    f"is renamed to {name!r}, and so is {other!r}: two topics are never merged into one;"
                    " allowed: one topic per target topic: rename one of them apart, or leave it out",
                    about=[(*path, before), (*path[:-1], "rename")],
                )


def _topic_configs(rule: Rule, path: KeyPath, flow: FlowSpec) -> None:
    names: list[tuple[KeyPath, str]] = [(("override", name), name) for name, _ in flow.topic_configs.override]
    names += [(("exclude", index), name) for index, name in enumerate(flow.topic_configs.exclude)]
    for where, name in names:
        if where[0] == "override" and name in FORCED_CONFIGS:
            rule.note(
                (*path, *where),
                "is set by the replicator itself, for an exact copy; allowed: any config except "
                + ", ".join(FORCED_CONFIGS),
            )
        elif not _CONFIG_NAME.fullmatch(name):
            hint = did_you_mean(name.replace("_", "."), [name.lower().replace("_", ".").replace("-", ".")])
            rule.note((*path, *where), f"is not the name of a topic config; example: retention.ms{hint}")


def same_cluster(spec: Spec, left: str, right: str) -> str:
    """Return why two aliases are one cluster, or an empty string."""
    if left == right:
        return "is the same alias"
    one, other = spec.cluster(left), spec.cluster(right)
    if one.cluster_id is not None and one.cluster_id == other.cluster_id:
        return f"and '{right}' have the same cluster_id"
    if not set(one.bootstrap).isdisjoint(other.bootstrap):
        return f"and '{right}' share a bootstrap address"
    return ""


def bootstraps(*aliases: str) -> list[KeyPath]:
    """Return the paths of the addresses that `same_cluster` compares."""
    return [("clusters", alias, "bootstrap") for alias in aliases]


def shared_targets(rule: Rule, spec: Spec) -> None:
    """Note every pair of flows that certainly feeds one topic of one cluster.

    Overlaps that depend on which topics exist are found at run time, by the mirror record.
    """
    known = {cluster.alias for cluster in spec.clusters}
    flows = [flow for flow in spec.flows if flow.target in known]
    for one, other in combinations(flows, 2):
        if not same_cluster(spec, one.target, other.target) or (one.both_ways and other.both_ways):
            continue
        topic = shared_target_topic(one, other)
        if topic is not None:
            rule.note(
                ("flows", other.name, "topics"),
                f"feeds the same topics of '{other.target}' as flow '{one.name}' (for example {topic!r});"
                " allowed: one flow per target topic: narrow include, add exclude, or rename",
                about=[*feeding(one), *feeding(other), *bootstraps(one.target, other.target)],
            )


def feeding(flow: FlowSpec) -> list[KeyPath]:
    """Return the paths that decide which target topics a flow writes to."""
    topics = ("flows", flow.name, "topics")
    excludes = ((*topics, "exclude", index) for index in range(len(flow.topics.exclude) + 1))
    keys = ("include", "exclude", "rename")
    renames = ((*topics, "rename", key) for key in ("prefix", "regex", "to"))
    return [("flows", flow.name, "to"), *((*topics, key) for key in keys), *excludes, *renames]


def shared_target_topic(one: FlowSpec, other: FlowSpec) -> str | None:
    """Return a target topic that both flows would write to, if such a name can be constructed."""
    for name in (*_candidates(one), *_candidates(other)):
        if _writes(one, name) and _writes(other, name):
            return name
    return None


def _candidates(flow: FlowSpec) -> list[str]:
    """Return a few names on the target that the flow's includes could lead to."""
    sources = [name for pattern in flow.topics.include for name in samples(pattern)]
    targets = [name_on_target(flow.rename, name) for name in sources]
    return [name for name in targets if name and legal_topic_name(name)]


def samples(pattern: Pattern) -> list[str]:
    """Return a few names that a pattern matches, as far as they can be constructed."""
    if pattern.kind is PatternKind.PREFIX:
        return [f"{pattern.text}x"]
    if pattern.kind is PatternKind.REGEX:
        return _samples_of_regex(pattern.text)
    return list(dict.fromkeys(_WILDCARDS.sub(with_, pattern.text) for with_ in ("x", "")))


def _samples_of_regex(text: str) -> list[str]:
    """Return a name that a regex of the usual kind matches; other regexes are left to run time."""
    simple = _ESCAPED_SIGN.sub(r"\1", _ANY_TEXT.sub("x", text.removeprefix("^").removesuffix("$")))
    if not legal_topic_name(simple):
        return []
    return [simple] if matches(Selection((Pattern(PatternKind.REGEX, text),)), simple) else []


def _writes(flow: FlowSpec, name: str) -> bool:
    """Return whether the flow certainly writes to this target topic, if the source has the topic that leads to it."""
    rename = flow.rename
    if rename.prefix is not None:
        return name.startswith(rename.prefix) and matches(flow.topics, name.removeprefix(rename.prefix))
    if rename.regex is None:
        return matches(flow.topics, name)
    # A replacement cannot be inverted: try only names that samples lead to, or that stay as they are.
    sources = [name, *(sample for pattern in flow.topics.include for sample in samples(pattern))]
    return any(matches(flow.topics, source) and name_on_target(rename, source) == name for source in sources)


def reverses(rule: Rule, spec: Spec) -> None:
    """Note every flow that cannot be the way back of the flow it names."""
    names = {flow.name: flow for flow in spec.flows}
    taken: dict[str, str] = {}
    for flow in spec.flows:
        if flow.reverse_of is None:
            continue
        path: KeyPath = ("flows", flow.name, "reverse_of")
        forth = names.get(flow.reverse_of)
        if forth is None:
            rule.note(path, f"there is no flow {flow.reverse_of!r}{did_you_mean(flow.reverse_of, list(names))}")
        elif (forth.source, forth.target) != (flow.target, flow.source):
            rule.note(
                path,
                f"flow '{forth.name}' copies {forth.source} to {forth.target}; needed: a flow from {flow.target} to "
                f"{flow.source}",
            )
        elif forth.reverse_of is not None:
            rule.note(path, f"flow '{forth.name}' is itself the way back of '{forth.reverse_of}'")
        elif forth.name in taken:
            rule.note(path, f"flow '{taken[forth.name]}' is already the way back of '{forth.name}'")
        elif forth.rename == Rename() == flow.rename and forth.topics != flow.topics:
            rule.note(path, f"its topics are not those of flow '{forth.name}': both must copy the same topics")
        else:
            taken[forth.name] = flow.name
