"""Phrases that all judgements share."""

from __future__ import annotations

from collections.abc import Collection

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NAMES_MAX = 10


def some(names: Collection[str], bound: int = NAMES_MAX) -> str:
    """Return up to `bound` names, sorted, and how many more there are."""
    first = sorted(names)[:bound]
    rest = len(names) - len(first)
    return ", ".join(first) + (f" and {rest} more" if rest else "")


def count(number: int, noun: str) -> str:
    """Return `1 topic` or `2 topics`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def span(milliseconds: int) -> str:
    """Return a duration in the unit that suits it: `45 min`, `23 h`, `24.8 days`."""
    if milliseconds < HOUR_MS:
        return f"{max(0, milliseconds) // 60_000} min"
    if milliseconds < 3 * DAY_MS:
        return f"{milliseconds / HOUR_MS:.3g} h"
    return f"{milliseconds / DAY_MS:.1f} days"
