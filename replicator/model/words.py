"""Words that daemons of different versions exchange: one of a newer version can be shown, but equals none of ours."""

from __future__ import annotations

import enum
from typing import TypeVar

W = TypeVar("W", bound=enum.StrEnum)


def read_word(kind: type[W], text: str) -> W:
    """Return a received word; one of a newer version is kept as it is, and equals no member."""
    try:
        return kind(text)
    except ValueError:
        word = str.__new__(kind, text)
        word._name_ = word._value_ = text
        return word


def is_known(word: enum.StrEnum) -> bool:
    """Return whether this version knows a word."""
    return word._value_ in type(word)._value2member_map_
