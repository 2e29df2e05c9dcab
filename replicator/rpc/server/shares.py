"""How many calls a daemon answers at once: a share for each caller, and room that others cannot take.

Each kind of call has its own room, and within each kind so has each rank of callers: callers who can only read, or not
even that, take no place from those who give orders, whatever they call and under however many names.
"""

from __future__ import annotations

import enum
from collections import Counter

from replicator.control.access import Rank
from replicator.errors import Busy


class Kind(enum.Enum):
    """Kinds of calls, each with its room: for all callers together, and for a single one."""

    ORDER = ("orders", 64, 16)
    LEASE = ("calls about leases", 1024, 512)
    LEASE_WATCH = ("watches of leases", 4096, 1024)
    """A daemon holds one for each of its flows."""
    QUESTION = ("questions", 128, 32)
    WATCH = ("watches", 128, 16)
    PROBE = ("health checks", 64, 8)

    def __init__(self, words: str, calls_max: int, caller_calls_max: int) -> None:
        self.words = words
        self.calls_max = calls_max
        self.caller_calls_max = caller_calls_max


_ORDERS = frozenset(
    {"SetDesired", "ResolveMirror", "Forget", "Repoint", "ClearDamaged", "StartSwitch", "AbortSwitch", "ConfirmSwitch"}
)
_HOW_ORDERS_ARE_KNOWN = "/replicator.rpc.v1.Access/Describe"
_CONTROL, _LEASE, _HEALTH = "/replicator.rpc.v1.Control/", "/replicator.rpc.v1.Lease/", "/grpc.health."


def kind_of(method: str) -> Kind | None:
    """Return the kind of a method (`/package.Service/Method`); None for one that is answered immediately."""
    if method == _HOW_ORDERS_ARE_KNOWN:
        return None  # called before each order, when the caller is not yet known
    name = method.rpartition("/")[2]
    if method.startswith(_CONTROL):
        return Kind.ORDER if name in _ORDERS else Kind.WATCH if name.startswith("Watch") else Kind.QUESTION
    if method.startswith(_LEASE) and name != "List":
        return Kind.LEASE_WATCH if name == "Watch" else Kind.LEASE
    if method.startswith(_HEALTH):
        return Kind.PROBE
    return Kind.QUESTION


class Shares:
    """The calls that are being answered."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[Kind, Rank]] = Counter()
        self._of_callers: Counter[tuple[Kind, Rank, str]] = Counter()

    def enter(self, kind: Kind, rank: Rank, caller: str) -> None:
        """Take a place; `leave` gives it back.

        Raises:
            Busy: There is none for this caller right now.
        """
        if self._of_callers[kind, rank, caller] >= kind.caller_calls_max:
            raise Busy(
                f"{kind.caller_calls_max} {kind.words} of {caller} are already being answered",
                why="that is one caller's share",
                next_step="end some of them, or repeat the call",
            )
        if self._calls[kind, rank] >= kind.calls_max:
            raise Busy(
                f"{kind.calls_max} {kind.words} of {rank} are already being answered", next_step="repeat the call"
            )
        self._calls[kind, rank] += 1
        self._of_callers[kind, rank, caller] += 1

    def leave(self, kind: Kind, rank: Rank, caller: str) -> None:
        """Give a place back."""
        self._calls[kind, rank] -= 1
        self._of_callers[kind, rank, caller] -= 1
        if not self._of_callers[kind, rank, caller]:
            del self._of_callers[kind, rank, caller]
