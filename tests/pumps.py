"""A pump for units that only ask one for a few things."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

from replicator.engine.copy.context import CopyContext
from replicator.engine.copy.pump import Pump
from replicator.engine.copy.sightings import Sightings


def pump_with(**members: object) -> Any:
    """Return what has these members, as a pump and as what its parts share; orders about what was seen are real."""
    made: Any = SimpleNamespace(**members)
    made.context = made.routes = made
    made.slots = made.partitions = members.get("slots", {})
    made.own = partial(CopyContext.own, made)
    made.renew = partial(Pump.renew, made)
    made.sightings = Sightings(made, made)
    return made
