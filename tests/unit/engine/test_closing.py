"""What a switch tells of consumer groups, and which mirrors it is not about."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.engine.state import records as state
from replicator.engine.switch.steps.close_source import CloseSource, noted
from replicator.model.spec import Pattern, PatternKind, Selection
from replicator.model.status.groups import GroupOutcome, GroupPartition, GroupState
from replicator.model.switch.terms import Cut, LeftOutReason, Scope, Verb
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from replicator.engine.switch.context import SwitchContext
    from replicator.engine.switch.steps.locks import SourceLocks

STANDS = (
    GroupPartition("a", "west.a", 0, GroupState.IN_STEP, 90, 90, 0),
    GroupPartition("a", "west.a", 1, GroupState.WAITING, 50, None),
    GroupPartition("gone", "gone", 0, GroupState.IN_STEP, 7, 7, 0),
)
CUTS = (Cut("a", 0, 1000, 1100, "west.a"), Cut("a", 1, 60, 60, "west.a"))


@pytest.mark.parametrize(
    ("known", "cut", "detail", "expected"),
    [
        (3, 0, None, "g: offsets read again: 3 as far as is known, 1,070 at most"),
        (
            None,
            4,
            "why",
            "g: why, offsets read again: 1,070 at most, 4 offsets that it had read were never copied",
        ),
    ],
)
def test_a_source_that_cannot_be_asked(known: int | None, cut: int, detail: str | None, expected: str) -> None:
    """A group may have worked on all that was copied since it was seen last: that is told beside what is known."""
    outcome = GroupOutcome(
        "g",
        GroupState.WAITING,
        exact=False,
        reread_records=known,
        cut_records=cut,
        detail=detail,
        partitions=STANDS,
    )
    found = noted([outcome], CUTS)
    assert (found.exact, found.inexact_count, found.inexact) == (0, 1, (expected,))


def test_a_source_that_was_asked() -> None:
    """What is read again is known."""
    some = [
        GroupOutcome("exact", GroupState.IN_STEP, exact=True, partitions=STANDS),
        GroupOutcome("g", GroupState.CHANGED_ON_TARGET, exact=False, reread_records=1200, partitions=STANDS),
    ]
    found = noted(some)
    assert (found.exact, found.inexact) == (1, ("g: changed on target, reads 1,200 offsets again",))


def _glob(text: str) -> Pattern:
    return Pattern(PatternKind.GLOB, text)


class Clusters:
    """Two clusters that are asked which topics are gone, and a flow of three mirrors that selects two of them."""

    def __init__(self, *gone: str) -> None:
        self.asked: list[list[str]] = []
        self.gone_topics = set(gone)
        records = dict(
            state.put(
                state.mirror_key("uid", f"east.{topic}"),
                pb.MirrorRecord(source_topic=topic, target_topic=f"east.{topic}"),
            )
            for topic in ("a", "b", "c")
        )
        self.context = cast(
            "SwitchContext",
            SimpleNamespace(
                log=SimpleNamespace(records=records),
                uid="uid",
                flow=SimpleNamespace(topics=Selection((_glob("*"),), (_glob("c"),))),
                source=self,
                target=self,
                copying=lambda: None,
            ),
        )

    async def gone(self, topics: Iterable[str]) -> list[str]:
        """Return those that are not there."""
        self.asked.append(sorted(topics))
        return sorted(set(self.asked[-1]) & self.gone_topics)

    async def left_out(self, verb: Verb, *topics: str) -> dict[str, LeftOutReason]:
        """Return what a switch of this kind leaves out."""
        found = await CloseSource(self.context, cast("SourceLocks", None), cast("Any", None)).left_out(
            verb, Scope(topics)
        )
        return {one.topic: one.why for one in found}


async def test_what_cannot_be_switched_is_left_out() -> None:
    """A switchover needs its topic on the source, a failback on the target; of a failover no cluster is asked."""
    clusters = Clusters("b", "east.a")
    assert await clusters.left_out(Verb.SWITCHOVER) == {"b": LeftOutReason.SOURCE_GONE, "c": LeftOutReason.NOT_SELECTED}
    assert await clusters.left_out(Verb.FAILBACK) == {"a": LeftOutReason.SOURCE_GONE, "c": LeftOutReason.NOT_SELECTED}
    assert await clusters.left_out(Verb.SWITCHOVER, "a") == {}
    assert clusters.asked == [["a", "b"], ["east.a", "east.b"], ["a"]]
    assert await clusters.left_out(Verb.FAILOVER) == {"c": LeftOutReason.NOT_SELECTED}
    assert len(clusters.asked) == 3
