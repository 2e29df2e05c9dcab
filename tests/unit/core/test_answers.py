"""What a broker's answer means."""

from __future__ import annotations

import pytest

from replicator.core.copy.writing.answers import FetchOutcome, ProduceOutcome, classify_fetch, classify_produce


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, ProduceOutcome.ACCEPTED),
        (2, ProduceOutcome.CORRUPT),
        (3, ProduceOutcome.MISSING),
        (6, ProduceOutcome.MOVED),
        (7, ProduceOutcome.UNKNOWN),
        (10, ProduceOutcome.TOO_LARGE),
        (13, ProduceOutcome.UNKNOWN),
        (18, ProduceOutcome.TOO_LARGE),
        (19, ProduceOutcome.MOVED),
        (20, ProduceOutcome.UNKNOWN),
        (29, ProduceOutcome.DENIED),
        (31, ProduceOutcome.DENIED),
        (32, ProduceOutcome.REJECTED),
        (45, ProduceOutcome.OUT_OF_ORDER),
        (46, ProduceOutcome.DUPLICATE),
        (47, ProduceOutcome.FENCED),
        (56, ProduceOutcome.UNKNOWN),
        (59, ProduceOutcome.OUT_OF_ORDER),
        (87, ProduceOutcome.REJECTED),
        (90, ProduceOutcome.FENCED),
        (100, ProduceOutcome.MISSING),
        (-1, ProduceOutcome.UNKNOWN),
    ],
)
def test_produce_codes(code: int, outcome: ProduceOutcome) -> None:
    """What may have been appended is never called refused, and a refusal that stays is never called a move."""
    assert classify_produce(code) is outcome


@pytest.mark.parametrize("code", [8000, 44, 12345])
def test_an_unknown_produce_code_stops_the_partition(code: int) -> None:
    """The safe side of a code that is not in the table is a stop, not a repeat."""
    assert classify_produce(code) is ProduceOutcome.REJECTED


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, FetchOutcome.OK),
        (1, FetchOutcome.OUT_OF_RANGE),
        (3, FetchOutcome.MISSING),
        (6, FetchOutcome.MOVED),
        (74, FetchOutcome.MOVED),
        (78, FetchOutcome.MOVED),
        (100, FetchOutcome.MISSING),
        (103, FetchOutcome.MISSING),
        (106, FetchOutcome.MISSING),
        (29, FetchOutcome.REJECTED),
        (2, FetchOutcome.REJECTED),
        (9999, FetchOutcome.REJECTED),
    ],
)
def test_fetch_codes(code: int, outcome: FetchOutcome) -> None:
    """A re-created topic shows as missing, a moved leader as moved, all else as refused."""
    assert classify_fetch(code) is outcome
