"""Which names a flow means, and how they are called on the target."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.topics.regex import BadRegex
from replicator.core.topics.selection import (
    legal_topic_name,
    literal,
    matches,
    matches_group,
    never_matched,
    target_name,
)
from replicator.model.spec import Pattern, PatternKind, Rename, Selection

names = st.text(alphabet="abcXYZ019._-", min_size=1, max_size=30)
copied_names = names.filter(lambda name: legal_topic_name(name) and not never_matched(name))


def glob(text: str) -> Pattern:
    """Return a glob."""
    return Pattern(PatternKind.GLOB, text)


def prefix(text: str) -> Pattern:
    """Return a prefix."""
    return Pattern(PatternKind.PREFIX, text)


EVERYTHING = Selection((glob("*"),))


@pytest.mark.parametrize(
    "name",
    [
        "__consumer_offsets",
        "__transaction_state",
        "replicator.state",
        "mm2-offset-syncs.west.internal",
        "mm2-configs.west",
        "connect-offsets-internal",
        "heartbeats",
        "west.checkpoints.internal",
        "orders.replica",
    ],
)
def test_internal_topics_are_never_matched_by_a_pattern(name: str) -> None:
    """Neither a glob, a prefix nor a regex reaches them."""
    assert never_matched(name)
    for pattern in (glob("*"), prefix(name[:3]), Pattern(PatternKind.REGEX, ".*")):
        assert not matches(Selection((pattern,)), name)


@pytest.mark.parametrize(
    "name",
    [
        "_schemas",
        "orders",
        "replicators",
        "divergent",
        "internal",
        "heartbeats2",
        "replica",
        "orders.dead-letter",
        "orders.divergent.7",
    ],
)
def test_names_that_only_look_internal_are_matched(name: str) -> None:
    """The list is no wider than it has to be."""
    assert matches(EVERYTHING, name)


def test_a_full_name_selects_what_no_pattern_does_except_reserved_topics() -> None:
    """A user's own topic may be called heartbeats; Kafka's and ours are out of reach."""
    for name, expected in (
        ("heartbeats", True),
        ("a.internal", True),
        ("__consumer_offsets", False),
        ("replicator.state", False),
    ):
        assert matches(Selection((glob(name),)), name) is expected


def test_a_regex_must_match_the_whole_name() -> None:
    """As fullmatch, also for alternatives."""
    selection = Selection((Pattern(PatternKind.REGEX, r"audit-\d+|x"),))
    assert matches(selection, "audit-12")
    assert not matches(selection, "audit-12a")
    assert not matches(selection, "xaudit-1")


@given(copied_names, names)
def test_a_prefix_is_startswith(name: str, start: str) -> None:
    """Nothing in a prefix is special."""
    assert matches(Selection((prefix(start),)), name) == name.startswith(start)


@given(copied_names, st.text(alphabet="abc*?.", min_size=1, max_size=10))
def test_a_glob_is_a_case_sensitive_fnmatch(name: str, text: str) -> None:
    """Operators know the shell's rules."""
    assert matches(Selection((glob(text),)), name) == fnmatch.fnmatchcase(name, text)


@given(copied_names, st.lists(names.map(prefix), max_size=4), st.lists(names.map(prefix), max_size=4))
def test_an_exclude_always_wins(name: str, include: list[Pattern], exclude: list[Pattern]) -> None:
    """Included, and not excluded."""
    included = matches(Selection(tuple(include)), name)
    excluded = matches(Selection(tuple(exclude)), name)
    assert matches(Selection(tuple(include), tuple(exclude)), name) == (included and not excluded)


@given(names, names)
def test_a_prefix_rename_is_one_to_one(name: str, start: str) -> None:
    """Two topics never meet under one name."""
    assert target_name(Rename(prefix=start), name) == start + name


@given(names)
def test_without_a_rename_the_name_stays(name: str) -> None:
    """Also with a regex that does not match."""
    assert target_name(Rename(), name) == name
    assert target_name(Rename(regex="!", to="x"), name) == name


@given(names)
def test_a_regex_rename_can_use_groups(name: str) -> None:
    """As in CONTRACTS section 1."""
    assert target_name(Rename(regex="^(.*)$", to=r"dr.\1"), name) == f"dr.{name}"


def test_a_rename_that_does_not_fit_raises() -> None:
    """The loader refuses it; here it must not pass silently."""
    with pytest.raises(BadRegex):
        target_name(Rename(regex="(a)", to=r"\2"), "a")


def test_literal_and_legal() -> None:
    """Small helpers of the loader."""
    assert literal(glob("a.b"))
    assert not literal(glob("a*"))
    assert not literal(prefix("a"))
    assert legal_topic_name("a" * 249)
    for name in ("", ".", "..", "a b", "ä", "a" * 250, "a\n"):
        assert not legal_topic_name(name)


def test_groups_are_matched_like_topics_with_names_of_their_own_left_out() -> None:
    """Kafka's own never; those its console tools make up only by their full name; topics' names mean nothing here."""
    for name in ("billing", "connect-sink", "mm2-MirrorMaker", "heartbeats", "x.internal", "group with spaces"):
        assert matches_group(EVERYTHING, name)
    for name in ("__internal", "replicator.probe"):
        assert not matches_group(EVERYTHING, name)
        assert not matches_group(Selection((glob(name),)), name)
    for name in ("console-consumer-48213", "perf-consumer-1", "console-share-consumer"):
        assert not matches_group(EVERYTHING, name)
        assert matches_group(Selection((glob(name),)), name)
    assert not matches_group(Selection((glob("*"),), (prefix("bill"),)), "billing")
    assert not matches_group(Selection(()), "billing")


def test_a_long_list_is_hashed_once_and_names_in_it_are_looked_up() -> None:
    """It is the key for every name that is asked about: thousands of names in it took seconds of each look."""
    asked: list[str] = []

    class Counted(Pattern):
        def __hash__(self) -> int:
            asked.append(self.text)
            return hash(self.text)

    names = [f"topic-{number}" for number in range(500)]
    means = Selection(tuple(Counted(PatternKind.GLOB, name) for name in names), (Pattern(PatternKind.GLOB, names[3]),))
    assert [name for name in [*names, "other"] if matches(means, name)] == [*names[:3], *names[4:]]
    assert asked == names
