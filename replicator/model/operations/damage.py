"""Records of `replicator.state` that cannot be read, as an operator sees them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Damaged:
    """One record that cannot be read.

    Attributes:
        cluster: The cluster that it is on.
        key: Its key, in hex.
        offset: Its offset in the topic.
        size_bytes: Size of its value.
        what: What kind of record it would be.
        why: Why it cannot be read.
        clearing: What clearing it would mean.
        guarded: Whether clearing it loses more than is rewritten automatically: then the key must be given twice.
    """

    cluster: str
    key: str
    offset: int
    size_bytes: int
    what: str
    why: str
    clearing: str
    guarded: bool


@dataclass(frozen=True, slots=True)
class Damage:
    """The records of a flow that cannot be read.

    Attributes:
        records: At most a thousand of them.
        left_out: How many more there are.
        unasked: Clusters that could not be asked.
    """

    records: tuple[Damaged, ...] = ()
    left_out: int = 0
    unasked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clearing:
    """An order to clear one record.

    Attributes:
        cluster: The cluster that it is on.
        key: Its key, in hex.
        offset: Its offset when it was shown.
        confirm: The key once more, or empty.
    """

    cluster: str
    key: str
    offset: int
    confirm: str = ""
