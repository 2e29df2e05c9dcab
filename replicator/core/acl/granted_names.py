"""The names that a rule of an authorizer can hold: a topic selection, said literally and by prefixes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from replicator.core.topics.selection import literal, target_name
from replicator.model.spec import Pattern, PatternKind, Rename, Selection


@dataclass(frozen=True, slots=True, order=True)
class Names:
    """One name, or all names that start with it. `*` means all names."""

    text: str
    prefixed: bool = False

    def covers(self, other: Names) -> bool:
        """Return whether it includes every name of `other`."""
        if self in {other, EVERY}:
            return True
        return self.prefixed and other != EVERY and other.text.startswith(self.text)


EVERY = Names("*")


def selected_names(selection: Selection) -> tuple[Names, ...]:
    """Return the narrowest names of an ACL that cover everything a selection includes.

    ACLs know only full names, prefixes and `*`: any other pattern gets the prefix that it starts with.
    Excludes cannot be expressed: the ACL permits reading what they leave out, but the flow does not.
    """
    return _without_covered(_names_of(pattern) for pattern in selection.include)


def mirror_names(selection: Selection, rename: Rename) -> tuple[Names, ...]:
    """Return the same for the names on the target."""
    return _without_covered(new for names in selected_names(selection) for new in _renamed(names, rename))


def wider_than_selection(selection: Selection) -> bool:
    """Return whether the rights reach further than the selection: an exclude, or a pattern that no ACL can express."""
    return bool(selection.exclude) or not all(_exact(pattern) for pattern in selection.include)


def _names_of(pattern: Pattern) -> Names:
    if pattern.kind is PatternKind.PREFIX:
        return _prefix(pattern.text)
    if pattern.kind is PatternKind.REGEX:
        return _regex_names(pattern.text)
    if literal(pattern):
        return Names(pattern.text)
    return _prefix(re.split(r"[*?\[]", pattern.text, maxsplit=1)[0])


def _prefix(text: str) -> Names:
    return Names(text, prefixed=True) if text else EVERY


def _exact(pattern: Pattern) -> bool:
    if pattern.kind is PatternKind.PREFIX or literal(pattern):
        return True
    if pattern.kind is PatternKind.GLOB:
        return re.fullmatch(r"[^*?\[]*\*", pattern.text) is not None
    return not _regex_names(pattern.text).prefixed and _regex_names(pattern.text) != EVERY


_PLAIN = re.compile(r"\\[._\-]|[A-Za-z0-9_\-]")
_REPEATS_FROM_NONE = ("*", "?", "{")


def _regex_names(regex: str) -> Names:
    """Return the prefix that every match of a regex starts with, as far as it is obvious."""
    body = regex.removeprefix("^").removesuffix("$")
    if "|" in body:
        return EVERY
    start, at = "", 0
    while found := _PLAIN.match(body, at):
        if body.startswith(_REPEATS_FROM_NONE, found.end()):
            return _prefix(start)
        start, at = start + found.group()[-1], found.end()
    return Names(start) if start and at == len(body) else _prefix(start)


_ALL_MATCH = frozenset({"(.*)", "(.+)", ".*", ".+"})


def _renamed(names: Names, rename: Rename) -> Iterable[Names]:
    if rename.prefix is not None:
        return [_prefix(rename.prefix) if names == EVERY else Names(rename.prefix + names.text, names.prefixed)]
    if rename.regex is None or rename.to is None:
        return [names]
    if names != EVERY and not names.prefixed:
        return [Names(target_name(rename, names.text))]
    renamed = _prefix(rename.to.split("\\", 1)[0])
    if rename.regex.removeprefix("^").removesuffix("$") in _ALL_MATCH:
        return [renamed]
    return [renamed, names]  # a name that the regex does not match stays as it is


def _without_covered(names: Iterable[Names]) -> tuple[Names, ...]:
    every = sorted(set(names))
    return tuple(one for one in every if not any(other != one and other.covers(one) for other in every))
