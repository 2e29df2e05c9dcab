"""A pump for units that only ask one for a few things."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def pump_with(**members: object) -> Any:
    """Return what has these members, as a pump and as what its parts share."""
    made = SimpleNamespace(**members)
    made.context = made.routes = made
    return made
