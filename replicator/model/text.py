"""Text of others (group ids, client ids, a broker's words) as people may read it: nothing in it acts on a terminal."""

from __future__ import annotations

import re
import shlex
from typing import Final

SAID_CHARS_MAX: Final = 300
"""How much is kept of one text that another party sent."""
_LINE_BREAK = re.compile(r"(\n)")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return the text with what a terminal would act upon as escapes: ``\x1b``, ``\n``, ``\u202e`` (turns direction).

    With `lines` its line breaks stay: for texts of ours of several lines, which put names in by `printable` without.
    """
    if text.isprintable():
        return text
    if lines:
        return "".join(part if part == "\n" else printable(part) for part in _LINE_BREAK.split(text))
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def said(text: str, chars_max: int = SAID_CHARS_MAX) -> str:
    """Return another party's words fit to be kept: `printable`, in one line, and cut at `chars_max`, which is said."""
    kept = printable(text[:chars_max])
    return kept if len(text) <= chars_max else f"{kept}... ({len(text):,} characters)"


def command(*words: str) -> str:
    """Return a command line that a shell reads as exactly these words, fit to be shown.

    A word that holds what a terminal would act upon is written as ``$'...'``, which bash, zsh and ksh read.
    """
    return " ".join(shlex.quote(word) if word.isprintable() else _ansi_c(word) for word in words)


def _ansi_c(word: str) -> str:
    return "$'" + "".join(_ansi_c_sign(sign) for sign in word) + "'"


def _ansi_c_sign(sign: str) -> str:
    if sign in "\\'":
        return f"\\{sign}"
    if sign.isprintable():
        return sign
    code = ord(sign)  # \x is a byte there, and a character here
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"  # noqa: PLR2004  # ASCII
