"""Reads a Java properties file as entries with line numbers, the way `java.util.Properties` reads a stream."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import javaproperties

from replicator.config.yaml.mistakes import Mark, Mistakes

_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key = value`; `line` is where the key begins, counted from 1. The value has no spaces at its ends."""

    key: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Properties:
    """The entries of a file in order, each key once; `overruled` holds those that a later line replaced."""

    entries: tuple[Entry, ...]
    overruled: tuple[Entry, ...] = ()


def read(data: bytes, file: str, mistakes: Mistakes) -> Properties:
    """Return the entries of a file; an escape that Java would refuse is noted as a mistake, and ends the reading.

    Bytes are Latin-1, as in Java's reader of streams; other characters are written as escapes.
    """
    line = 1
    found: list[Entry] = []
    try:
        for element in javaproperties.parse(data):
            if isinstance(element, javaproperties.KeyValue):
                found.append(Entry(element.key, element.value.strip(), line))
            line += len(_LINE_END.findall(element.source))
    except javaproperties.InvalidUEscapeError:
        # The escape is not repeated: it may be part of a secret.
        mistakes.add(
            Mark(file, line, 1), (), "\\u without four hexadecimal digits after it; allowed: \\uXXXX, or \\\\u"
        )
    return _each_once(found)


def _each_once(found: Iterable[Entry]) -> Properties:
    last: dict[str, Entry] = {}
    overruled: list[Entry] = []
    for entry in found:
        if entry.key in last:
            overruled.append(last[entry.key])
        last[entry.key] = entry
    return Properties(tuple(sorted(last.values(), key=lambda entry: entry.line)), tuple(overruled))
