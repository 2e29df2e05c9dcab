"""The verdict on one partition of a plain topic: both sides in step, beside the ledger.

Words for what is wrong, after Jepsen's: *lost* (acknowledged, and not there), *phantom* (there, and nobody sent it),
*different* (another record than the source's, or than the one that was acknowledged), *hole* (an offset is missing).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from chaos.ledger import Ledger, Where
from chaos.reader import Entry
from chaos.records import Record, Run, number_of

_PROBLEMS_MAX = 5


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        records: How many records of the target were compared.
        value_bytes: Sizes of their values, together.
        deleted: How many of them the source has deleted since: they were compared with the ledger alone.
        unknown_found: How many records of unknown outcome stand in the logs.
        placed: Number that was acknowledged without an offset to how often it was found.
        filled: How many offsets of the target hold no record, where none may be.
        problems: What is wrong, at most a few of each partition.
    """

    records: int = 0
    value_bytes: int = 0
    deleted: int = 0
    unknown_found: int = 0
    placed: Counter[int] = field(default_factory=Counter)
    filled: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing is wrong, and something was compared at all."""
        return not self.problems and self.records > 0


def compare(
    where: Where, source: Iterable[Entry], target: Iterable[Entry], ledger: Ledger, run: Run, verdict: Verdict
) -> None:
    """Compare one partition of both sides and of the ledger; add to the verdict.

    The target begins at offset 0. The source may begin later: what it deleted has to be on the target all the same.
    """
    found: list[str] = []
    theirs = iter(source)
    first = left = next(theirs, None)
    expected = 0
    for offset, record in target:
        if len(found) >= _PROBLEMS_MAX:
            break
        if offset != expected:
            found.append(f"hole: the target has {offset} where {expected} comes next")
        expected = offset + 1
        verdict.records += 1
        verdict.value_bytes += len(record.value or b"")
        found += _against_ledger(where, offset, record, ledger, run, verdict)
        if left is not None and left[0] <= offset:
            if left != (offset, record):
                found.append(f"different at {offset}: source {left}, target {record}")
            left = next(theirs, None)
        elif first is None or offset < first[0]:
            verdict.deleted += 1
        else:
            found.append(f"phantom at {offset}: the source has none there, target {record}")
    if len(found) < _PROBLEMS_MAX:
        if left is not None:
            found.append(f"lost: the source has {left[0]}, the target ends at {expected}")
        if ledger.end(where) > expected:
            found.append(f"lost: acknowledged up to {ledger.end(where)}, the target ends at {expected}")
    verdict.problems += [f"{where[0]}[{where[1]}] {problem}" for problem in found]


def find_unplaced(ledger: Ledger, verdict: Verdict) -> None:
    """Judge, once all partitions were compared, what was acknowledged without an offset: each stands there once."""
    for number, where in sorted(ledger.unplaced.items()):
        found = verdict.placed[number]
        if found != 1:
            what = "doubled" if found else "lost"
            verdict.problems.append(
                f"{where[0]}[{where[1]}] {what}: number {number} was acknowledged, without an offset, and is there "
                f"{found} times"
            )


def _against_ledger(
    where: Where, offset: int, record: Record, ledger: Ledger, run: Run, verdict: Verdict
) -> Iterator[str]:
    number = ledger.at(where, offset)
    if number is None:
        number = number_of(record.value)
        if number is not None and ledger.unplaced.get(number) == where:
            verdict.placed[number] += 1
        elif number is not None and number in ledger.unknown:
            verdict.unknown_found += 1
        else:
            yield f"phantom at {offset}: {record}"
            return
    if run.topic_of(number).name != where[0] or run.record(number) != record:
        yield f"different at {offset}: sent was number {number}, {run.record(number)}, target {record}"
