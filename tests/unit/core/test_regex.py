"""Expressions of an operator: linear in the name, and Python's meaning or a refusal."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.topics.regex import REGEX_MAX_CHARACTERS, BadRegex, Regex
from replicator.core.topics.selection import matches, matches_group, target_name
from replicator.model.spec import Pattern, PatternKind, Rename, Selection

_NESTED = (r"(a*)*b", r"(a+)+b", r"(a|aa)+b", r"(a|a?)+b", r"(.*a){20}b", r"([a-z]+\.?)+b")


_STARS = ("*" * 30 + "b", "*a" * 120 + "b", "*[a-z]" * 40 + "!", "?*" * 120 + "b")


def test_no_name_stops_the_process() -> None:
    """Whoever may create a topic or a group chooses the name; nested repeats took minutes of it.

    Globs stay with Python's engine, whose translation tries each star once.
    """
    code = f"""
from replicator.core.topics.selection import matches, matches_group, target_name
from replicator.model.spec import Pattern, PatternKind, Rename, Selection
name = "a" * 249
for kind, texts in ((PatternKind.REGEX, {_NESTED!r}), (PatternKind.GLOB, {_STARS!r})):
    for text in texts:
        chosen = Selection((Pattern(kind, text),))
        assert not matches(chosen, name)
        assert not matches_group(chosen, name)
        assert kind is PatternKind.GLOB or target_name(Rename(regex=text, to="x"), name) == name
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


_PARTS = st.sampled_from(
    ["a", "b", "-", ".", ".*", ".+", r"\.", "[ab]", "[^a]", "(a|b)", "(?:ab)?", "a{1,2}", r"\d", r"\w+", "^", "$", "|"]
)


@given(st.lists(_PARTS, min_size=1, max_size=7), st.text("ab.-1", max_size=6))
def test_the_meaning_is_pythons(parts: list[str], name: str) -> None:
    """A flow file means what it meant with Python's engine, wherever it is not refused."""
    text = "".join(parts)
    assert Regex(text).matches(name) == (re.fullmatch(text, name) is not None)


_REPLACEMENTS = st.lists(st.sampled_from([r"\1", r"\g<1>", r"\g<0>", r"\g<n>", "x", ".", r"\\"]), max_size=5)


@given(st.text("ab-", max_size=6), _REPLACEMENTS)
def test_replacements_are_pythons(name: str, parts: list[str]) -> None:
    """As `re.Match.expand`."""
    text, to = "(a*)-?(?P<n>b*)(c)?", "".join(parts)
    found = re.fullmatch(text, name)
    assert Regex(text).replaced(name, to) == (found.expand(to) if found else None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(?!x).*", "`exclude`"),
        ("(?=x).*", "`include`"),
        ("(?<!x)y", "`exclude`"),
        (r"(a)\1", "back references"),
        ("(?P<n>a)(?P=n)", "back references"),
        ("(?>a)b", "plain group"),
        ("a++", "possessive"),
        (r"a\Z", r"write \z"),
        ("a{,3}", "write {0,"),
        ("(a", "missing )"),
        ("*a", "no argument for repetition operator"),
        ("a**", "bad repetition operator: **"),
        ("(?:a{1000}){1000}", "repetition"),
        ("a\ud800", "surrogates not allowed"),
        ("a" * (REGEX_MAX_CHARACTERS + 1), "too many"),
    ],
)
def test_what_is_refused_comes_with_a_hint(text: str, reason: str) -> None:
    """Also what RE2 would take and mean something else by."""
    with pytest.raises(BadRegex, match=re.escape(reason)) as error:
        Regex(text)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        (r"\2", "reference 2"),
        (r"\g<2>", "reference 2"),
        (r"\g<m>", "'m'"),
        (r"\g<>", "''"),
        (r"\q", "escape"),
        ("\\", "escape"),
    ],
)
def test_a_replacement_that_does_not_fit(to: str, reason: str) -> None:
    """It is refused when the file is read."""
    with pytest.raises(BadRegex, match=re.escape(reason)):
        Regex("(?P<n>a)").check_replacement(to)


def test_names_that_are_no_text() -> None:
    """Group ids are any bytes; what is no UTF-8 must not raise."""
    chosen = Selection((Pattern(PatternKind.REGEX, "a.*"),))
    assert matches_group(chosen, "a\udc80")
    assert not matches(chosen, "b\udc80")
    assert target_name(Rename(regex="(.*)", to=r"x\1"), "\udc80") == "x\udc80"
