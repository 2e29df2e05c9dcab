"""Makes text from others (group ids, a broker's words) safe to display: nothing in it acts on a terminal."""

from __future__ import annotations

import re
import shlex
from typing import Final

SAID_CHARS_MAX: Final = 300
"""How much of a text from another party is kept."""
_LINE_BREAK = re.compile(r"(\n)")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return the text with everything escaped that a terminal acts on: ``\x1b``, ``\n``, ``\u202e`` (text direction).

    With `lines`, line breaks stay: for our own texts of several lines, whose inserted names went through `printable`.
    """
    if text.isprintable():
        return text
    if lines:
        return "".join(part if part == "\n" else printable(part) for part in _LINE_BREAK.split(text))
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def said(text: str, chars_max: int = SAID_CHARS_MAX) -> str:
    """Return another party's words in one `printable` line, cut at `chars_max` with a note of the full length."""
    kept = printable(text[:chars_max])
    return kept if len(text) <= chars_max else f"{kept}... ({len(text):,} characters)"


def command(*words: str) -> str:
    """Return a command line that a shell reads as exactly these words, safe to display.

    A word with something that a terminal acts on is written as ``$'...'``, which bash, zsh and ksh read.
    """
    return " ".join(shlex.quote(word) if word.isprintable() else _ansi_c(word) for word in words)


def _ansi_c(word: str) -> str:
    return "$'" + "".join(_ansi_c_sign(sign) for sign in word) + "'"


def _ansi_c_sign(sign: str) -> str:
    if sign in "\\'":
        return f"\\{sign}"
    if sign.isprintable():
        return sign
    code = ord(sign)  # for the shell, \x is a byte; here the code is a character
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"  # noqa: PLR2004  # ASCII
