"""Regular expressions of an operator, matched in time linear in the name (RE2).

Python's own engine tries every way to match: `(a*)*b` takes minutes for a topic whose name has 34 letters, and nothing
else runs meanwhile. RE2 has no such expressions, at the price of look-arounds and back references.
"""

from __future__ import annotations

import re
from functools import lru_cache

import re2

REGEX_MAX_CHARACTERS = 2_000
_PROGRAM_MAX_BYTES = 1 << 20
_REASON_MAX_CHARACTERS = 200
"""RE2 repeats the expression in some of its messages."""

_REFERENCE = re.compile(r"\\(?:g<(?P<name>[^>]*)>|(?P<number>[0-9]{1,2})|(?P<sign>.?))", re.DOTALL)
_OPEN_COUNT = re.compile(r"(?<!\\)(?:\\\\)*\{,")
_HINTS = (
    ("(?!", "RE2 has no look-ahead; put the names to leave out into `exclude`"),
    ("(?=", "RE2 has no look-ahead; say it with `include` and `exclude`"),
    ("(?<!", "RE2 has no look-behind; put the names to leave out into `exclude`"),
    ("(?<=", "RE2 has no look-behind; say it with `include` and `exclude`"),
    ("(?>", "RE2 has no atomic groups; a plain group matches the same names"),
    ("(?P=", "RE2 has no back references"),
    ("(?#", "RE2 has no comments"),
    (r"\Z", r"write \z, or nothing: the whole name must match"),
)


class BadRegex(ValueError):
    """Not a regular expression of RE2, or a replacement that does not fit one; the message is the reason."""


class Regex:
    """A compiled expression that must match a whole name.

    Raises:
        BadRegex: The text is not an expression, is too long, or takes too much memory.
    """

    __slots__ = ("_compiled",)

    def __init__(self, text: str) -> None:
        if len(text) > REGEX_MAX_CHARACTERS:
            raise BadRegex(f"{len(text)} characters are too many; allowed: {REGEX_MAX_CHARACTERS}")
        if _OPEN_COUNT.search(text):
            raise BadRegex("RE2 takes '{,' for plain text; write {0,")
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _PROGRAM_MAX_BYTES
        try:
            self._compiled = re2.compile(text, options)
        except (re2.error, UnicodeEncodeError) as error:
            raise BadRegex(_reason(text, error)) from None

    def matches(self, name: str) -> bool:
        """Return whether the whole name matches."""
        return self._compiled.fullmatch(_encoded(name)) is not None

    def replaced(self, name: str, to: str) -> str | None:
        r"""Return `to` with the groups of the match in it (``\1``, ``\g<1>``, ``\g<name>``), or None without a match.

        Raises:
            BadRegex: `to` does not fit (see `check_replacement`).
        """
        self.check_replacement(to)
        found = self._compiled.fullmatch(_encoded(name))
        if found is None:
            return None

        def group(reference: re.Match[str]) -> str:
            asked = reference["name"] or reference["number"]
            if asked is None:
                return "\\"
            return (found[int(asked) if asked.isdecimal() else asked] or b"").decode("utf-8", "surrogatepass")

        return _REFERENCE.sub(group, to)

    def check_replacement(self, to: str) -> None:
        """Return if every reference of `to` names a group.

        Raises:
            BadRegex: One does not.
        """
        groups, names = self._compiled.groups, self._compiled.groupindex
        for reference in _REFERENCE.finditer(to):
            asked = reference["name"] if reference["name"] is not None else reference["number"]
            if asked is None:
                if reference["sign"] != "\\":
                    raise BadRegex(f"bad escape {reference[0]} at position {reference.start()}")
            elif asked.isdecimal():
                if int(asked) > groups:
                    raise BadRegex(f"invalid group reference {asked} at position {reference.start() + 1}")
            elif asked not in names:
                raise BadRegex(f"unknown group name {asked!r} at position {reference.start() + 1}")


@lru_cache(maxsize=256)
def compiled(text: str) -> Regex:
    """Return the expression, compiled once.

    Raises:
        BadRegex: As for `Regex`.
    """
    return Regex(text)


def _encoded(name: str) -> bytes:
    # A name may hold lone surrogates, if it came from bytes that are not UTF-8: they must not raise.
    return name.encode("utf-8", "surrogatepass")


def _reason(text: str, error: Exception) -> str:
    said = error.args[0] if error.args else str(error)
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(error)
    hint = next((hint for sign, hint in _HINTS if sign in text), None)
    if hint is None and re.search(r"\\[1-9]", text):
        hint = "RE2 has no back references"
    if hint is None and re.search(r"bad repetition operator: .\+", words):
        hint = "RE2 has no possessive quantifiers; a plain one matches the same names"
    short = words if len(words) <= _REASON_MAX_CHARACTERS else f"{words[:_REASON_MAX_CHARACTERS]}..."
    return f"{short}; {hint}" if hint else short
