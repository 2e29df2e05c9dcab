"""Writes YAML by hand, since every decision gets a comment beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from replicator.config.mm2.properties import Entry
from replicator.config.mm2.report import one_line
from replicator.model.spec import Pattern, PatternKind

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_SHOWN_MAX = 100
_INLINE_MAX = 90
_STEP = "  "

Lines = list[str]


def scalar(text: str) -> str:
    """Return text as YAML; anything but a plain word is quoted. The caller doubles each `$`."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text)


def literal(text: str) -> str:
    """Return text as YAML in which nothing is taken for a variable."""
    return scalar(text.replace("$", "$$"))


def comment(text: str) -> str:
    """Return one line of comment."""
    return f"# {one_line(text)}".rstrip()


def said(entry: Entry | None, what: str) -> str:
    """Return a comment for a decision: its line and value, and what we do. Not for values that may be secrets."""
    if entry is None:
        return comment(what)
    value = entry.value if len(entry.value) <= _SHOWN_MAX else entry.value[:_SHOWN_MAX] + "..."
    return comment(f"line {entry.line}: {entry.key} = {value}" + (f": {what}" if what else ""))


def indented(lines: Iterable[str], levels: int = 1) -> Lines:
    """Return the lines with more indentation."""
    return [_STEP * levels + line if line else line for line in lines]


def commented(lines: Iterable[str]) -> Lines:
    """Return the lines as a comment, to be used by removing the `#`."""
    return [f"# {line}" for line in lines]


def mapping(key: str, lines: Sequence[str]) -> Lines:
    """Return a mapping with its lines; if they are all comments, the key is one, too."""
    live = any(not line.lstrip().startswith("#") for line in lines)
    return [f"{key}:", *indented(lines)] if live else [*commented([f"{key}:"]), *indented(lines)] if lines else []


def sequence(key: str, items: Sequence[str]) -> Lines:
    """Return a list of written values, on one line if it fits."""
    line = f"{key}: [{', '.join(items)}]"
    return [line] if len(line) <= _INLINE_MAX else [f"{key}:", *(f"{_STEP}- {item}" for item in items)]


def pattern_text(pattern: Pattern) -> str:
    """Return a pattern as it is written in a list."""
    if pattern.kind is PatternKind.REGEX:
        return f"{{regex: {json.dumps(pattern.text.replace('$', '$$'))}}}"
    return json.dumps(pattern.text)
