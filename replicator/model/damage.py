"""Records of `replicator.state` that cannot be read, as an operator is told of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Damaged:
    """One of them.

    Attributes:
        cluster: Where it stands.
        key: Its key, in hex.
        offset: Where on the topic.
        size_bytes: Of its value.
        what: What it would have been.
        why: Why it cannot be read.
        clearing: What clearing it means.
        guarded: Whether clearing it loses more than is written anew by itself: it takes the key a second time.
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
    """What cannot be read of a flow.

    Attributes:
        records: At most a thousand.
        left_out: How many there are beside these.
        unasked: Clusters that could not be asked.
    """

    records: tuple[Damaged, ...] = ()
    left_out: int = 0
    unasked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clearing:
    """An order to clear one.

    Attributes:
        cluster: Where it stands.
        key: Its key, in hex.
        offset: Where it stood when it was shown.
        confirm: The key once more, or empty.
    """

    cluster: str
    key: str
    offset: int
    confirm: str = ""
