"""Attaching after a flow was moved: no marker stands in the log, the first batch under the new epoch is the fence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicator.core.copy.attaching.facts import Resume
from replicator.model.status.states import Reason
from tests.unit.core.test_attach import ENTRY, NOW, TAIL, TARGET, WRITER, attach, reason_of


@pytest.mark.parametrize(
    ("continues_from", "shown", "decision"),
    [
        (3, 3, Resume(10, 0, NOW)),
        (2, 2, Resume(10, 0, NOW)),
        (2, 3, Resume(10, 0, NOW)),
        (3, 5, Resume(10, 10, NOW)),
        (4, 3, Reason.FENCED),
        (None, 3, Reason.FENCED),
        (3, 6, Reason.FENCED),
    ],
)
def test_a_moved_flow_goes_on_under_a_higher_epoch(
    continues_from: int | None, shown: int, decision: Resume | Reason
) -> None:
    """With sequence 0 wherever an epoch since `continues_from` shows; any lower one is a fence that is not finished."""
    writer = replace(WRITER, producer_epoch=5, continues_from=continues_from)
    target = replace(TARGET, entry=replace(ENTRY, producer_epoch=shown), tail=replace(TAIL, producer_epoch=shown))
    found = attach(target, writer=writer)
    assert found == decision if isinstance(decision, Resume) else reason_of(found) is decision


def test_a_moved_flow_goes_on_where_producers_are_not_described() -> None:
    """The header of the last batch tells the epoch."""
    writer = replace(WRITER, producer_epoch=5, continues_from=3)
    target = replace(TARGET, entry=None, entry_known=False)
    assert attach(target, writer=writer) == Resume(10, 0, None)
    again = replace(target, tail=replace(TAIL, producer_epoch=5))
    assert attach(again, writer=writer) == Resume(10, 10, None)


def test_equal_sequences_of_two_epochs_prove_nothing() -> None:
    """The batch that the broker remembers is not committed yet: it would be copied twice."""
    later = replace(ENTRY, producer_epoch=3)
    target = replace(TARGET, entry=later, tail=replace(TAIL, producer_epoch=2))
    assert reason_of(attach(target)) is Reason.WAITING_FOR_TAIL
