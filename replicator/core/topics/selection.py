"""Which names a flow selects, and their names on the target."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from functools import lru_cache

from replicator.core.topics.regex import compiled
from replicator.model.spec import Pattern, PatternKind, Rename, Selection

TOPIC_NAME_MAX = 249
"""Kafka's own limit, in characters."""

_LEGAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
_GLOB_SIGNS = frozenset("*?[")

_RESERVED = re.compile(r"__.*|replicator\..*", re.DOTALL)
"""Kafka's and our own topics: copying them would damage the target, so not even their full name selects them."""

_NEVER_BY_PATTERN = re.compile(r"mm2-.*|.*\.internal|.*-internal|heartbeats|.*\.replica", re.DOTALL)
"""Names that MirrorMaker 2 and Kafka Connect give to topics of their own (DefaultTopicFilter, ReplicationPolicy).

An application's topic may have such a name, too: topics that a pattern leaves out are reported (`core.topics.choice`).
"""

_NO_GROUP_BY_PATTERN = re.compile(r"(console|perf)-consumer-\d+|console-share-consumer", re.DOTALL)
"""Groups that Kafka's own tools make up for one run; nobody continues with them in another region."""


def legal_topic_name(name: str) -> bool:
    """Return whether Kafka accepts this topic name."""
    return _LEGAL_NAME.fullmatch(name) is not None and name not in {".", ".."}


def reserved(name: str) -> bool:
    """Return whether nothing in a flow file can select this name."""
    return _RESERVED.fullmatch(name) is not None


def never_matched(name: str) -> bool:
    """Return whether no pattern matches this name: internal topics of Kafka, of ours, of MirrorMaker and Connect."""
    return reserved(name) or _NEVER_BY_PATTERN.fullmatch(name) is not None


def group_reserved(name: str) -> bool:
    """Return whether nothing in a flow file can select this consumer group."""
    return _RESERVED.fullmatch(name) is not None


def literal(pattern: Pattern) -> bool:
    """Return whether the pattern is one full name."""
    return pattern.kind is PatternKind.GLOB and _GLOB_SIGNS.isdisjoint(pattern.text)


def matches(selection: Selection, name: str) -> bool:
    """Return whether a selection selects this name.

    At least one include matches and no exclude does. Of the names no pattern matches, those that are not
    `reserved` can be selected by listing the full name.
    """
    return _matcher(selection)(name)


def metric_name(name: str) -> str:
    """Return the name that two topics of a cluster must not share: brokers name metrics so (unifyCollisionChars)."""
    return name.replace(".", "_")


def listed(selection: Selection, name: str) -> bool:
    """Return whether a selection includes this full name, not only a pattern that matches it."""
    return any(literal(pattern) and pattern.text == name for pattern in selection.include)


def left_out_by_name(selection: Selection, name: str) -> bool:
    """Return whether a pattern would select this name, if it were not the name of another tool's internal topic."""
    return not matches(selection, name) and not reserved(name) and _any_name_matcher(selection)(name)


def means_by_name(selection: Selection, name: str) -> bool:
    """Return whether a topic is selected, or would be if its name were not an internal one's: then it is reported."""
    return matches(selection, name) or left_out_by_name(selection, name)


def matches_group(selection: Selection, name: str) -> bool:
    """Return whether a selection selects this consumer group.

    As for topics: groups `__*` and `replicator.*` never, those of Kafka's console tools only by their full name.
    """
    return _group_matcher(selection)(name)


def target_name(rename: Rename, name: str) -> str:
    """Return the target's name for a source topic.

    A regex that does not match the whole name leaves it unchanged. The result may be an illegal name
    (`legal_topic_name`): the caller refuses it, because only the caller knows the topic's flow.

    Raises:
        BadRegex: The replacement does not fit the regex; the loader refuses that.
    """
    if rename.prefix is not None:
        return rename.prefix + name
    if rename.regex is not None and rename.to is not None:
        renamed = compiled(rename.regex).replaced(name, rename.to)
        return name if renamed is None else renamed
    return name


def _no_topic_of_ours(name: str) -> bool:
    # Kafka's brokers have no such name; if one is reported, it must not get into texts, commands and file names.
    return reserved(name) or not legal_topic_name(name)


def _never_matched_group(name: str) -> bool:
    return group_reserved(name) or _NO_GROUP_BY_PATTERN.fullmatch(name) is not None


@lru_cache(maxsize=256)
def _matcher(selection: Selection) -> Callable[[str], bool]:
    return _matcher_of(selection, _no_topic_of_ours, never_matched)


@lru_cache(maxsize=256)
def _any_name_matcher(selection: Selection) -> Callable[[str], bool]:
    return _matcher_of(selection, _no_topic_of_ours, reserved)


@lru_cache(maxsize=256)
def _group_matcher(selection: Selection) -> Callable[[str], bool]:
    return _matcher_of(selection, group_reserved, _never_matched_group)


def _matcher_of(
    selection: Selection, is_reserved: Callable[[str], bool], is_never_matched: Callable[[str], bool]
) -> Callable[[str], bool]:
    by_name, include = _union(selection.include)
    not_by_name, exclude = _union(selection.exclude)

    def match(name: str) -> bool:
        if is_reserved(name) or (is_never_matched(name) and name not in by_name):
            return False
        if not (name in by_name or any(test(name) for test in include)):
            return False
        return name not in not_by_name and not any(test(name) for test in exclude)

    return match


def _union(patterns: tuple[Pattern, ...]) -> tuple[frozenset[str], tuple[Callable[[str], object], ...]]:
    """Return the full names among the patterns, of which there may be thousands, and tests for the others."""
    names = frozenset(pattern.text for pattern in patterns if literal(pattern))
    return names, tuple(_test(pattern) for pattern in patterns if not literal(pattern))


def _test(pattern: Pattern) -> Callable[[str], object]:
    text = pattern.text
    if pattern.kind is PatternKind.PREFIX:
        return lambda name: name.startswith(text)
    if pattern.kind is PatternKind.REGEX:
        return compiled(text).matches
    # translate() anchors both ends and is case sensitive, as topic names are. For several stars it produces a pattern
    # that takes time linear in the name for each of them, so a glob may stay with Python's engine.
    return re.compile(fnmatch.translate(text)).match
