"""What is ours of the rules on a flow's target, on `replicator.state`: recorded before it is placed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.engine.state import records as state
from replicator.engine.state.damage import damaged_record, read_record
from replicator.model.acl import LITERAL, TOPIC, Rule, parse
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from replicator.engine.state.log import Change


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Rules of ours on a target.

    Attributes:
        locks: They keep others from writing while it is the passive side.
        made: Mirrored from the source.
        withheld: Placed once it is opened.
    """

    locks: tuple[Rule, ...] = ()
    made: tuple[Rule, ...] = ()
    withheld: tuple[Rule, ...] = ()

    @property
    def standing(self) -> tuple[Rule, ...]:
        """What stands on the target, or is going to: all but what is withheld."""
        return (*self.locks, *self.made)

    def opened(self, topics: Collection[str] | None, *, but: Collection[str] = ()) -> HeldBack:
        """Return what it is once the target is opened.

        Args:
            topics: Target topics that are opened alone; None for all of it. A rule for a whole prefix goes on being
                withheld then, and is placed for these topics.
            but: Target topics that stay closed though all the rest is opened.
        """
        if topics is None:
            stays = tuple(rule for rule in self.withheld if rule.pattern == LITERAL and rule.name in but)
            return HeldBack(
                tuple(rule for rule in self.locks if rule.name in but),
                tuple(sorted({*self.made, *self.withheld} - set(stays))),
                stays,
            )
        placed = {
            rule._replace(name=topic, pattern=LITERAL)
            for rule in self.withheld
            for topic in topics
            if rule.covers(TOPIC, topic)
        }
        return HeldBack(
            tuple(rule for rule in self.locks if rule.name not in topics),
            tuple(sorted({*self.made, *placed})),
            tuple(rule for rule in self.withheld if rule.name not in topics or rule.pattern != LITERAL),
        )


def held_back_key(uid: str) -> bytes:
    """Return the key of what is held back on the target of a flow."""
    return state.key(pb.KIND_HELD_BACK, uid)


def held_back_of(records: Mapping[bytes, bytes], uid: str) -> HeldBack:
    """Return what is ours on a flow's target."""
    raw = records.get(held_back_key(uid))
    if raw is None:
        return HeldBack()
    record = read_record(pb.HeldBackRecord, held_back_key(uid), raw)
    try:
        return HeldBack(_parsed(record.locks), _parsed(record.made), _parsed(record.withheld))
    except (TypeError, ValueError) as error:  # a rule with more or fewer words than ours
        raise damaged_record(held_back_key(uid), str(error)) from error


def put_held_back(uid: str, held: HeldBack) -> Change:
    """Return the change that stores it; nothing is forgotten."""
    if held == HeldBack():
        return held_back_key(uid), None
    return state.put(
        held_back_key(uid),
        pb.HeldBackRecord(locks=_texts(held.locks), made=_texts(held.made), withheld=_texts(held.withheld)),
    )


def _texts(rules: tuple[Rule, ...]) -> list[str]:
    return sorted(rule.text() for rule in rules)


def _parsed(texts: Iterable[str]) -> tuple[Rule, ...]:
    return tuple(sorted(parse(text) for text in texts))
