"""The hash chain of the audit log: each line holds the hash of the one before, so none can be changed or removed.

Whoever can write the file can also write a whole new chain: keep the last hash elsewhere, and give it to `verify`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from replicator.errors import Unequal
from replicator.model.operations.audit import AuditEntry, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

GENESIS = "0" * 64
_NUMBERS = frozenset({"seq", "call"})
_NUMBER_MAX = (1 << 62) - 1


def encode(entry: AuditEntry) -> bytes:
    """Return the line of an entry, with its end."""
    shown = {name: value for name, value in asdict(entry).items() if value not in ("", 0)}
    text = json.dumps(shown, separators=(",", ":"), ensure_ascii=False)
    if not text.isprintable():  # somebody looks at it with `cat`
        text = "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)
    return text.encode() + b"\n"


def decode(line: bytes) -> AuditEntry | None:
    """Return the entry in a line; None if the line is not an entry: it is half-written, or has wrong types."""
    try:
        raw: dict[str, Any] = json.loads(line)
        entry = AuditEntry(**{**raw, "phase": Phase(raw["phase"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    whole = all(_is_number(getattr(entry, name)) for name in _NUMBERS)
    texts = all(_is_text(getattr(entry, one.name)) for one in fields(AuditEntry) if one.name not in _NUMBERS)
    return entry if whole and texts and entry.seq > 0 else None


def _is_number(value: object) -> bool:
    """Return whether it is a number that can be counted on from, and sent."""
    return type(value) is int and 0 <= value <= _NUMBER_MAX


def _is_text(value: object) -> bool:
    """Return whether it is text that can be sent: JSON may contain a lone surrogate."""
    return isinstance(value, str) and (value.isascii() or value == value.encode(errors="replace").decode())


def digest(line: bytes) -> str:
    """Return the hash of a line, with its end."""
    return hashlib.sha256(line).hexdigest()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file.

    Attributes:
        place: Where it is, in words.
        raw: Its bytes, including the newline.
        file: For the first line of a file: the file's name; otherwise empty.
        begins: For the first line of a file: the number in its name; otherwise 0.
    """

    place: str
    raw: bytes
    file: str = ""
    begins: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """An unbroken chain.

    Attributes:
        first_seq: Number of its first entry, 0 for an empty log.
        last_seq: Number of its last entry.
        last_hash: The hash that the next line will hold.
        torn: Lines that are not entries (usually half-written), and that the next line confirms as such.
        open_calls: Changes whose outcome was not recorded: the daemon died in between.
    """

    first_seq: int = 0
    last_seq: int = 0
    last_hash: str = GENESIS
    torn: int = 0
    open_calls: tuple[int, ...] = ()


def verify(lines: Iterable[Line]) -> Chain:
    """Follow a chain from its first line to its last.

    A log may start later than entry 1, since old files may be kept elsewhere.

    Raises:
        Unequal: A line was changed or added, or is missing; the text names it.
    """
    walk = _Walk()
    for line in lines:
        walk.take(line)
    return walk.end()


class _Walk:
    """A chain, as far as it has been followed."""

    def __init__(self) -> None:
        self._first = self._last = self._torn = 0
        self._hash = GENESIS
        self._torn_at = ""
        self._began = False
        self._open: list[int] = []

    def take(self, line: Line) -> None:
        if self._began and line.begins > self._last + 1:
            raise _missing(line, self._last + 1)
        entry = decode(line.raw)
        if entry is None or not line.raw.endswith(b"\n"):
            self._refuse_torn()
            self._torn_at = line.place
            self._torn += 1
            self._began = True
        else:
            self._follow(line.place, entry)
        self._hash = digest(line.raw)

    def _follow(self, place: str, entry: AuditEntry) -> None:
        if entry.phase is not Phase.TORN:
            self._refuse_torn()
        if self._began:
            if entry.previous != self._hash:
                raise _broken(place, "it does not follow from the line before: a line was changed or removed")
            if entry.seq != self._last + 1:
                raise _broken(place, f"entry {entry.seq} follows entry {self._last}")
        elif entry.seq < 1 or (entry.seq == 1) != (entry.previous == GENESIS):
            raise _broken(place, "only the very first entry may have no line before it")
        self._torn_at = ""
        self._first, self._last, self._began = self._first or entry.seq, entry.seq, True
        if entry.phase is Phase.INTENT:
            self._open.append(entry.seq)
        elif entry.call in self._open:
            self._open.remove(entry.call)

    def _refuse_torn(self) -> None:
        if self._torn_at:
            raise _broken(self._torn_at, "it is not an entry, and the next line does not explain it")

    def end(self) -> Chain:
        if self._torn_at:
            raise _broken(self._torn_at, "it is half-written; the daemon records that with the next change")
        return Chain(self._first, self._last, self._hash, self._torn, tuple(self._open))


def _missing(line: Line, first: int) -> Unequal:
    gone = f"entries {first} to {line.begins - 1} are" if line.begins > first + 1 else f"entry {first} is"
    return Unequal(
        f"a file of the audit log is missing: {line.file.replace(f'{line.begins:012}', f'{first:012}')}",
        why=f"{gone} missing before {line.place}",
        next_step="find out who deleted it; restore it from a copy, if there is one",
    )


def _broken(place: str, why: str) -> Unequal:
    return Unequal(
        f"the audit log is broken at {place}",
        why=why,
        next_step="leave the files as they are, and compare them with a copy",
    )
