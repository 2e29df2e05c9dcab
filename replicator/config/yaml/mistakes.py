"""One mistake, all mistakes, and how they are displayed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from replicator.model.text import printable

Key = str | int
KeyPath = tuple[Key, ...]
PROBLEMS_MAX = 200
"""A generated file can be wrong everywhere; nobody reads more than this at once."""
TEXT_CHARS_MAX = 1000
"""The most for one mistake: it goes to the log at SIGHUP, and may quote a value of any length."""
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,100}")
_KEY_CHARS_MAX = 100


class Mark(NamedTuple):
    """A position in a file; line and column count from 1."""

    file: str
    line: int
    column: int


def key_path(path: KeyPath) -> str:
    """Return ``flows.east-to-west.topics.include[1]``; a key with other characters is quoted."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + (key if _PLAIN_KEY.fullmatch(key) else f'"{key[:_KEY_CHARS_MAX]}"')
    return text


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest allowed word, or nothing."""
    allowed = list(allowed)
    by_folded = {one.lower(): one for one in allowed}
    near = difflib.get_close_matches(word.lower(), by_folded, n=1, cutoff=0.6)
    return f"; did you mean '{by_folded[near[0]]}'?" if near else ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, where it is, and what would be right."""

    mark: Mark
    path: KeyPath
    text: str

    def __str__(self) -> str:
        place = f"{self.mark.file}:{self.mark.line}:{self.mark.column}: "
        return place + (f"{key_path(self.path)}: " if self.path else "") + self.text


@dataclass(slots=True)
class Mistakes:
    """Collects mistakes while a file is read in several passes; `files` is their reading order."""

    found: list[Mistake] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def add(self, mark: Mark, path: KeyPath, text: str) -> None:
        """Note one mistake."""
        if len(text) > TEXT_CHARS_MAX:
            text = f"{text[:TEXT_CHARS_MAX]}... ({len(text):,} characters)"
        self.found.append(Mistake(mark, path, text))

    def lines(self) -> list[str]:
        """Return every mistake as one line, in reading order, each once, and safe to print on a terminal."""
        files = list(dict.fromkeys([*self.files, *(mistake.mark.file for mistake in self.found)]))
        ordered = sorted(self.found, key=lambda m: (files.index(m.mark.file), m.mark.line, m.mark.column))
        lines = list(dict.fromkeys(printable(str(mistake)) for mistake in ordered))
        if len(lines) > PROBLEMS_MAX:
            lines[PROBLEMS_MAX:] = [f"... and {len(lines) - PROBLEMS_MAX} more mistakes"]
        return lines
