"""Which rules on a flow's target are ours, on `replicator.state`; recorded before they are placed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.engine.state import records as state
from replicator.engine.state.topic.damage import damaged_record, read_record
from replicator.model.acl import LITERAL, TOPIC, Rule, parse
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from replicator.engine.state.topic.log import Change


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Our rules on a target.

    Attributes:
        locks: They keep others from writing while the target is passive.
        made: The rules mirrored from the source.
        withheld: The rules to be placed once the target is opened.
    """

    locks: tuple[Rule, ...] = ()
    made: tuple[Rule, ...] = ()
    withheld: tuple[Rule, ...] = ()

    @property
    def standing(self) -> tuple[Rule, ...]:
        """The rules that are on the target or about to be: all but the withheld ones."""
        return (*self.locks, *self.made)

    def opened(self, topics: Collection[str] | None, *, but: Collection[str] = ()) -> HeldBack:
        """Return our rules once the target is opened.

        Args:
            topics: Target topics that are opened singly; None for the whole target. In the former case, a rule for a
                prefix stays withheld, and is placed for these topics.
            but: Target topics that stay closed while everything else is opened.
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
    """Return the key of our rules on a flow's target."""
    return state.key(pb.KIND_HELD_BACK, uid)


def held_back_of(records: Mapping[bytes, bytes], uid: str) -> HeldBack:
    """Return our rules on a flow's target."""
    raw = records.get(held_back_key(uid))
    if raw is None:
        return HeldBack()
    record = read_record(pb.HeldBackRecord, held_back_key(uid), raw)
    try:
        return HeldBack(_parsed(record.locks), _parsed(record.made), _parsed(record.withheld))
    except (TypeError, ValueError) as error:  # the text of a rule has too many or too few words
        raise damaged_record(held_back_key(uid), str(error)) from error


def put_held_back(uid: str, held: HeldBack) -> Change:
    """Return the change that stores our rules; a tombstone if there are none."""
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
