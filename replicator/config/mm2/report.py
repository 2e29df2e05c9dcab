"""What became of each line of the properties file."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

from replicator.config.mm2.properties import Entry

_KEY = re.compile(r"[A-Za-z0-9._-]+(->[A-Za-z0-9._-]+)?", re.ASCII)
UNNAMED = "(no name of an option)"


class Fate(enum.StrEnum):
    """What the flow file has for an option of MirrorMaker 2."""

    CONVERTED = "converted"
    BUILT_IN = "built in"  # nothing to write: this is always the behaviour
    OVERRULED = "overruled"  # another line decides
    BY_HAND = "by hand"  # something has to be done first
    NONE = "none"


NAMED_IN_HEADER = (Fate.BY_HAND, Fate.NONE)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the properties file. `line` 0 means a default that no line names."""

    line: int
    key: str
    fate: Fate
    text: str


@dataclass(slots=True)
class Report:
    """Collects rows; a line that applies to several flows or clusters may have several."""

    rows: list[Row] = field(default_factory=list)

    def add(self, entry: Entry, fate: Fate, text: str) -> None:
        """Note what became of an entry. Its value is never part of a row: it may be a secret."""
        self.rows.append(Row(entry.line, shown_key(entry), fate, one_line(text)))

    def ordered(self) -> tuple[Row, ...]:
        """Return every row once, in the order of the file."""
        return tuple(dict.fromkeys(sorted(self.rows, key=lambda row: row.line)))


def one_line(text: str) -> str:
    """Return text that is safe in a comment: an escape in the file must not end the comment."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def shown_key(entry: Entry) -> str:
    """Return the key, unless it may be something else: a broken continuation line turns values into keys."""
    sure = entry.value or "." in entry.key
    return entry.key if sure and _KEY.fullmatch(entry.key) else UNNAMED
