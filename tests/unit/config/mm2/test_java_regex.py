"""Java's regular expressions as our patterns: the same names, or a reason why not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.config.mm2.flows.java_regex import NotOurs, names, patterns
from replicator.core.topics.selection import legal_topic_name, matches
from replicator.model.spec import Pattern, PatternKind, Selection


def glob(text: str) -> Pattern:
    """Return a glob."""
    return Pattern(PatternKind.GLOB, text)


def regex(text: str) -> Pattern:
    """Return a regular expression."""
    return Pattern(PatternKind.REGEX, text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("orders", [glob("orders")]),
        (" orders ,payments,, orders ", [glob("orders"), glob("payments")]),
        ("payments.v1", [glob("payments.v1")]),
        (".*", [glob("*")]),
        ("foo-.*", [glob("foo-*")]),
        (r"foo\..*", [glob("foo.*")]),
        ("a.b.*", [glob("a?b*")]),
        ("a.+", [glob("a?*")]),
        ("a|b-.*", [glob("a"), glob("b-*")]),
        ("^(a|(?:b|c.*))$", [glob("a"), glob("b"), glob("c*")]),
        (r"\Qa.b\E.*", [glob("a.b*")]),
        ("[ab]x", [regex("[ab]x")]),
        (r"a-\d{3}", [regex(r"a-\d{3}")]),
        ("(a|b)-.*", [regex("(a|b)-.*")]),
        ("(a,b)-.*", [regex("(a|b)-.*")]),
        ("a{1,3}", None),
        ("(?i)a|b", [regex("(?i)a|b")]),
        (r"(?<x>a)b\Z", [regex(r"(?P<x>a)b\z")]),
        (r"[\u0061b]\u0063", [regex(r"[\x{0061}b]\x{0063}")]),
        ("[a||b]x", [regex("[a||b]x")]),
        (r"a\$", [regex(r"a\$")]),
        ("", []),
    ],
)
def test_what_becomes_plain_and_what_stays_a_regex(value: str, expected: list[Pattern] | None) -> None:
    """Names and simple globs are what people meant."""
    if expected is None:
        with pytest.raises(NotOurs):
            patterns(value)
    else:
        assert list(patterns(value)) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (r"\p{Alpha}+", r"\p exists in Java's"),
        (r"[\p{Alpha}_]+", r"\p exists in Java's"),
        (r"a\h", r"\h exists in Java's"),
        ("[a-z&&[^b]]x", "a class inside a class"),
        ("[a-z&&b]x", "a class inside a class"),
        ("[a[bc]]x", "a class inside a class"),
        ("(?u)a.*", "the flags (?u)"),
        ("x(?d:a)", "the flags (?d:"),
        ("*.log", "is not an RE2 regular expression"),
        ("(a", "is not an RE2 regular expression"),
        ("(?<=a*)b", "RE2 has no look-behind; say it with `include` and `exclude`"),
        ("^(?!test-).*", "RE2 has no look-ahead; put the names to leave out into `exclude`"),
        ("(?>a|b)c", "a plain group matches the same names"),
        ("a++", "RE2 has no possessive quantifiers"),
        (r"(a)\1|b", "refers back to a group"),
        (r"(?<x>a)\k<x>", "refers back to a group"),
    ],
)
def test_what_only_java_has_is_named(value: str, reason: str) -> None:
    """A list that cannot be said is refused whole: a part left out would change what is copied."""
    with pytest.raises(NotOurs, match=re.escape(reason)):
        patterns(f"orders-.*, {value}")


def test_a_dot_in_an_excluded_name_keeps_its_meaning() -> None:
    """Nothing is copied that MirrorMaker left out."""
    assert patterns("a.b", excludes=True) == (glob("a?b"),)
    assert patterns("a.b") == (glob("a.b"),)


_PARTS = st.sampled_from(["a", "b", "-", ".", ".*", ".+", r"\.", "[ab]", "(a|b)", "a|b", r"\Qa.\E", "a?"])


_TOPICS = st.text("ab.-", min_size=1, max_size=6).filter(legal_topic_name)


@given(st.lists(_PARTS, min_size=1, max_size=6), st.lists(_TOPICS, min_size=1))
def test_the_same_names_match(parts: list[str], topics: list[str]) -> None:
    """For every expression of shared signs; Python stands for Java here, which it equals on these."""
    value = "".join(parts)
    selection = Selection(patterns(value, excludes=True))
    plain = value.replace(r"\Qa.\E", r"a\.")
    for topic in topics:
        assert matches(selection, topic) == (re.fullmatch(plain, topic) is not None)


def test_names_of_settings() -> None:
    """A regex becomes the known names it matches; a plain name is kept although nobody knows it."""
    known = frozenset({"retention.ms", "retention.bytes", "segment.ms", "min.insync.replicas"})
    value = r"retention\..*, min.insync.replicas, vendor.flag, none-.*, No_Setting"
    assert names(value, known) == (("min.insync.replicas", "retention.bytes", "retention.ms"), ("vendor.flag",))
    assert names("[rs].*ms", known) == (("retention.ms", "segment.ms"), ())
