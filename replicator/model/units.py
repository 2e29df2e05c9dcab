"""Durations as people write them."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(text: str) -> float:
    """Return the seconds of `500ms`, `5s`, `2m`, `1h` or `7d`.

    Raises:
        ValueError: Anything else; a bare number too, since its unit would be a guess.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 5s or 2m")
    return float(match[1]) * _SECONDS[match[2]]
