"""Converts MirrorMaker 2's lists of names and Java regular expressions to our patterns.

MirrorMaker splits a list at its commas and joins the parts with `|`; the whole must match a whole name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from replicator.core.topics.regex import BadRegex, compiled
from replicator.core.topics.selection import matches
from replicator.model.spec import Pattern, PatternKind, Selection

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
_SETTING = re.compile(r"[a-z][a-z0-9.]*", re.ASCII)
_GLOB_MAX = 249
_SIMPLE = re.compile(r"\.\*|\.\+|\.|\\[._-]|[A-Za-z0-9_-]", re.ASCII)
_AS_GLOB = {".*": "*", ".+": "?*", ".": "?"}
_QUOTED = re.compile(r"\\Q(.*?)(?:\\E|$)", re.DOTALL)
_STEP = re.compile(
    r"\\(?P<escape>k<\w+>|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|.)"
    r"|(?P<class>\[\^?\]?(?:\\.|[^\]\\])*\])"
    r"|(?P<group>\(\?<(?![=!]))"
    r"|(?P<flags>\(\?[A-Za-z-]+[:)])"
    r"|(?P<count>\{(?![0-9]+(?:,[0-9]*)?\}))"
    r"|(?P<other>.)",
    re.DOTALL,
)
_SHARED_ESCAPES = frozenset("dDwWsSbBAtnrfz")
_REFERENCES = frozenset("123456789")
_SHARED_FLAGS = frozenset("ims-")


class NotOurs(ValueError):
    """A regular expression that has no counterpart in ours; the message is the reason."""


def patterns(value: str, *, excludes: bool = False) -> tuple[Pattern, ...]:
    """Return the patterns of a list, each once.

    A plain name stays a plain name, although its dots match any character in a regex: its author meant a name.
    In an exclude list dots become `?`, so that nothing is copied that MirrorMaker left out.

    Raises:
        NotOurs: A part is not a regular expression of ours.
    """
    parts = [part.strip() for part in value.split(",") if part.strip()]
    try:
        found = [pattern for part in parts for pattern in _part(part, excludes=excludes)]
    except NotOurs:
        whole = "|".join(parts)  # by this accident a comma inside a group works in MirrorMaker: (orders,billing)-.*
        if len(parts) == 1:
            raise
        found = list(_part(whole, excludes=excludes))
    return tuple(dict.fromkeys(found))


def names(value: str, known: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which known names a list means, and the plain names in it that are not known.

    Raises:
        NotOurs: As for `patterns`.
    """
    found: set[str] = set()
    for pattern in patterns(value, excludes=True):
        plain = pattern.text.replace("?", ".")
        hits = {plain} if plain in known else {name for name in known if _matches(pattern, name)}
        found |= hits or ({plain} if _SETTING.fullmatch(plain) and pattern.kind is PatternKind.GLOB else set())
    return tuple(sorted(found & known)), tuple(sorted(found - known))


def _matches(pattern: Pattern, name: str) -> bool:
    return matches(Selection((pattern,)), name)


def _part(part: str, *, excludes: bool) -> Iterator[Pattern]:
    if _NAME.fullmatch(part):
        yield Pattern(PatternKind.GLOB, part.replace(".", "?") if excludes else part)
        return
    text = _translate(_QUOTED.sub(lambda match: re.escape(match[1]), part))
    _compile(text, part)
    for choice in _choices(text):
        glob = _glob(choice)
        yield Pattern(PatternKind.REGEX, choice) if glob is None else Pattern(PatternKind.GLOB, glob)


def _translate(text: str) -> str:
    """Return the same expression in RE2's syntax; what both share stays."""
    return "".join(_step(match) for match in _STEP.finditer(text))


def _step(match: re.Match[str]) -> str:
    group = match[0]
    if match["escape"] is not None:
        return _escape(match["escape"])
    if match["class"] is not None:
        body = group[1:-1]
        if "&&" in body or re.search(r"(?<!\\)\[", body):
            raise NotOurs("a class inside a class ([a-z&&[^b]]) exists in Java's regular expressions only")
        inner = re.sub(r"^\^?\]?", "", body)
        return f"[{body.removesuffix(inner)}{_translate(inner)}]"  # its escapes
    if match["count"] is not None:
        raise NotOurs("a '{' that does not begin a count; commas separate the list, so {1,3} cannot be used in it")
    if match["group"] is not None:
        return "(?P<"
    if match["flags"] is not None and not set(group[2:-1]) <= _SHARED_FLAGS:
        raise NotOurs(f"the flags {group} exist in Java's regular expressions only")
    return group


def _escape(escape: str) -> str:
    if escape.startswith("k<") or escape in _REFERENCES:
        raise NotOurs(f"\\{escape} refers back to a group, which needs time beyond any bound")
    if escape == "Z":
        return r"\z"
    if escape.startswith("u") and len(escape) > 1:
        return f"\\x{{{escape[1:]}}}"
    if escape.isalnum() and len(escape) == 1 and escape not in _SHARED_ESCAPES:
        raise NotOurs(f"\\{escape} exists in Java's regular expressions only")
    return f"\\{escape}"


def _compile(text: str, part: str) -> None:
    try:
        compiled(text)
    except BadRegex as error:
        raise NotOurs(f"{part!r} is not an RE2 regular expression: {error}") from None


def _choices(text: str) -> list[str]:
    """Return the alternatives of an expression: it matches a name if one of them matches the whole name."""
    if text.startswith("(?") and not text.startswith("(?:"):
        return [text]  # flags apply to all alternatives
    parts, depth = [""], 0
    for match in _STEP.finditer(text):
        sign = match[0]
        depth += 1 if sign.startswith("(") else -1 if sign == ")" else 0
        if sign == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    if len(parts) > 1:
        return [one for part in parts for one in _choices(part)]
    bare = text.removeprefix("^")
    bare = bare[:-1] if bare.endswith("$") and not bare.endswith(r"\$") else bare
    inner = _inside_group(bare)
    return [bare] if inner is None else _choices(inner)


def _inside_group(text: str) -> str | None:
    """Return what is inside a group that spans the whole text."""
    opening = re.match(r"\((?:\?:)?(?!\?)", text)
    if opening is None:
        return None
    depth = 0
    for match in _STEP.finditer(text):
        depth += 1 if match[0].startswith("(") else -1 if match[0] == ")" else 0
        if depth == 0:
            return text[opening.end() : -1] if match.end() == len(text) else None
    return None


def _glob(text: str) -> str | None:
    """Return a glob that matches the same names, if there is one."""
    words = _SIMPLE.findall(text)
    glob = "".join(_AS_GLOB.get(word, word.removeprefix("\\")) for word in words)
    return glob if words and "".join(words) == text and len(glob) <= _GLOB_MAX else None
