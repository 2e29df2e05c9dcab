"""Whether one daemon works on one shard: its lease proposes, the signs of life on the state topic decide.

Every daemon that works on a shard says so on the state topic, with the epoch of its lease (`engine.work.presence`).
That sign does not depend on coordinators, so two daemons never work on one shard for longer than it takes to
read it, and a copy continues while no coordinator answers. Two that do overlap duplicate nothing (DESIGN: The idea).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sign:
    """Another daemon's sign of life on a shard, no older than a TTL on our own clock.

    `yields` says that it stops as soon as somebody with a newer lease has started.
    """

    instance: str
    epoch: int
    yields: bool


@dataclass(frozen=True, slots=True)
class ShardView:
    """What a daemon knows about one shard.

    Attributes:
        me: This daemon.
        works: Whether it works on the shard.
        epoch: Epoch of its lease, 0 while it has none.
        floor: The newest lease epoch or claim number of others seen on the state topic.
        taken_away: Whether the coordinator gave the lease to another daemon, or is about to.
        expired: Whether its lease was not renewed in time, by its own clock.
        stops_on_loss: Whether it stops when the lease expires (`coordinator.on_loss: stop`).
        others: Signs of life of others.
        claim_number: Number of the claim on the state topic.
        claim_holder: Who holds that claim, None for nobody.
    """

    me: str
    works: bool
    epoch: int
    floor: int
    taken_away: bool
    expired: bool
    stops_on_loss: bool
    others: tuple[Sign, ...]
    claim_number: int
    claim_holder: str | None


class ShardAction(enum.Enum):
    """What to do with a shard now."""

    BEGIN = "begin"
    GO_ON = "go_on"
    YIELD = "yield"
    """Continue, and say that whoever has the newer lease may start."""
    STOP = "stop"
    WAIT = "wait"
    """The lease is ours, but another daemon that does not know this is working."""
    IDLE = "idle"


def next_action(view: ShardView) -> ShardAction:
    """Return what to do with a shard."""
    if view.works:
        return _active(view)
    # A lease that is not above everything seen comes from a coordinator whose store was lost or restored.
    if view.epoch <= view.floor or view.taken_away or view.expired:
        return ShardAction.IDLE
    if any(not sign.yields or sign.epoch >= view.epoch for sign in view.others) or _outranked(view):
        return ShardAction.WAIT
    return ShardAction.BEGIN


def _active(view: ShardView) -> ShardAction:
    if any(sign.epoch > view.epoch for sign in view.others) or _outranked(view):
        return ShardAction.STOP
    if view.expired and view.stops_on_loss:
        return ShardAction.STOP
    return ShardAction.YIELD if view.taken_away else ShardAction.GO_ON


def _outranked(view: ShardView) -> bool:
    """Return whether a working daemon took a claim under a lease that is not older than ours.

    Two leases of one epoch come from a coordinator whose store was restored from an old copy: the claim decides.
    """
    holder = view.claim_holder
    return (
        holder is not None
        and holder != view.me
        and view.claim_number >= view.epoch
        and any(sign.instance == holder for sign in view.others)
    )
