"""The checker sees every way in which a copy can be wrong, and nothing where it is right."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import chaos.load
from chaos.compare import Verdict, compare, find_unplaced
from chaos.errors import ChaosError
from chaos.ledger import Ledger
from chaos.load import Load
from chaos.reader import Entry
from chaos.records import TOPICS, Record, Run

RUN = Run(TOPICS, begun_ms=1_700_000_000_000, per_second=100)
WHERE = (TOPICS[0].name, 0)
NUMBERS = [number for number in range(200) if RUN.topic_of(number) is TOPICS[0]][:20]


def log() -> list[Entry]:
    """Return a partition that holds what was sent."""
    return [(offset, RUN.record(number)) for offset, number in enumerate(NUMBERS)]


def ledger() -> Ledger:
    """Return what the source acknowledged."""
    made = Ledger()
    for offset, number in enumerate(NUMBERS):
        made.note(WHERE, offset, number)
    return made


def judge(source: list[Entry], target: list[Entry], known: Ledger | None = None) -> Verdict:
    """Compare one partition."""
    verdict = Verdict()
    compare(WHERE, source, target, known or ledger(), RUN, verdict)
    return verdict


def test_equal() -> None:
    """Both sides and the ledger agree."""
    verdict = judge(log(), log())

    assert verdict.equal
    assert (verdict.records, verdict.deleted) == (len(NUMBERS), 0)


def test_nothing_is_not_equal() -> None:
    """A check that compared nothing has proven nothing."""
    assert not judge([], [], Ledger()).equal


def test_what_the_source_deleted_is_compared_with_the_ledger() -> None:
    """The target keeps it, and it has to be what was acknowledged."""
    target = log()
    assert judge(log()[7:], target).equal
    assert judge(log()[7:], target).deleted == 7
    assert judge([], target).equal

    target[3] = (3, RUN.record(NUMBERS[4]))
    assert not judge(log()[7:], target).equal


def _without_last(target: list[Entry]) -> None:
    target.pop()


def _with_hole(target: list[Entry]) -> None:
    del target[5]


def _doubled(target: list[Entry]) -> None:
    target[6:] = [(offset + 1, record) for offset, record in target[5:]]


def _foreign(target: list[Entry]) -> None:
    target.append((len(target), Record(1, 1, None, b"foreign", ())))


def _swapped(target: list[Entry]) -> None:
    target[2], target[3] = (2, target[3][1]), (3, target[2][1])


def _without_header(target: list[Entry]) -> None:
    at = next(at for at, (_, record) in enumerate(target) if record.headers)
    target[at] = (at, target[at][1]._replace(headers=()))


def _other_time(target: list[Entry]) -> None:
    target[4] = (4, target[4][1]._replace(timestamp=0))


@pytest.mark.parametrize(
    "break_it", [_without_last, _with_hole, _doubled, _foreign, _swapped, _without_header, _other_time]
)
def test_every_harm_is_seen(break_it: Callable[[list[Entry]], None]) -> None:
    """On the target alone, and where both sides have it and only the ledger knows better."""
    target = log()
    break_it(target)

    assert not judge(log(), target).equal
    assert not judge(target, target).equal


def test_an_unknown_outcome_may_be_either() -> None:
    """A record whose delivery failed may stand in the log or not."""
    known = Ledger()
    for offset, number in enumerate(NUMBERS[:-1]):
        known.note(WHERE, offset, number)

    assert judge(log()[:-1], log()[:-1], known).equal
    assert not judge(log(), log(), known).equal
    known.unknown[NUMBERS[-1]] = "timed out"
    assert judge(log(), log(), known).equal
    assert judge(log(), log(), known).unknown_found == 1


def test_an_acknowledgement_without_an_offset() -> None:
    """A producer is told so of a batch that it sent twice: the record is read, and stands there once."""
    known = Ledger()
    for offset, number in enumerate(NUMBERS):
        if offset != 5:
            known.note(WHERE, offset, number)
    known.note_unplaced(WHERE, NUMBERS[5])
    assert known.records == len(NUMBERS)

    def judged(source: list[Entry], target: list[Entry]) -> Verdict:
        verdict = judge(source, target, known)
        find_unplaced(known, verdict)
        return verdict

    assert judged(log(), log()).equal
    lost = [entry for entry in log() if entry[0] != 5]
    assert any("lost: number" in text for text in judged(lost, lost).problems)
    doubled = [*log(), (len(NUMBERS), RUN.record(NUMBERS[5]))]
    assert any("doubled: number" in text for text in judged(doubled, doubled).problems)
    other = log()
    other[5] = (5, RUN.record(NUMBERS[6]))
    assert not judged(other, other).equal
    known.unplaced[NUMBERS[5]] = (WHERE[0], 1)
    assert not judged(log(), log()).equal, "it was acknowledged in another partition"


def test_a_delivery_report_without_an_offset_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client reports success, and no offset, where the broker answers DUPLICATE_SEQUENCE_NUMBER."""
    monkeypatch.setattr(chaos.load, "Producer", lambda _: None)
    load = Load("nowhere:1", RUN)
    message: Any = SimpleNamespace(topic=lambda: WHERE[0], partition=lambda: 0, offset=lambda: None)
    load._delivery_of(NUMBERS[0], 7)(None, message)

    assert not load.problems
    assert (load.ledger.unplaced, load.ledger.records, load.ledger.value_bytes) == ({NUMBERS[0]: WHERE}, 1, 7)


def test_a_source_that_acknowledges_twice_is_not_sound() -> None:
    """Two records at one offset: the fault is not the replicator's."""
    known = ledger()

    with pytest.raises(ChaosError, match="two records"):
        known.note(WHERE, 3, NUMBERS[5])


def test_records_are_of_every_kind() -> None:
    """Numbers reach every topic; there are records with and without keys and headers, and old ones."""
    records = {number: RUN.record(number) for number in range(2000)}

    assert {RUN.topic_of(number) for number in records} == set(TOPICS)
    assert {record.key is None for record in records.values()} == {True, False}
    assert {bool(record.headers) for record in records.values()} == {True, False}
    assert all((record.timestamp < RUN.begun_ms) == RUN.topic_of(number).old for number, record in records.items())
