"""Coroutines that wait for nothing but their turn, called like functions."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


def at_once(work: Coroutine[Any, Any, _T]) -> _T:
    """Return what a coroutine returns that lets others run now and then, without letting them; also inside a loop."""
    while True:
        try:
            waits_for = work.send(None)
        except StopIteration as end:
            value: _T = end.value
            return value
        assert waits_for is None, "it waits for something"
