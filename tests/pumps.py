"""A pump for units that only ask one for a few things."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

from replicator.engine.copy.pump import Pump

_ORDERS = ("_own", "note_end", "note_starts", "level_ms", "track_of", "renew")


def pump_with(**members: object) -> Any:
    """Return what has these members, as a pump and as what its parts share; orders about what was seen are real."""
    made = SimpleNamespace(**members)
    made.context = made.routes = made
    made.slots = made.partitions = members.get("slots", {})
    for name in _ORDERS:
        setattr(made, name, partial(getattr(Pump, name), made))
    return made
