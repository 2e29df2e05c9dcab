"""What the transactional load writes into its ledger when its producer fails in every way it can."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import chaos.transactions
from chaos.errors import ChaosError
from chaos.ledger import Outcome
from chaos.records import TOPICS, TRANSACTIONS, Run, Way, numbers_of, transaction_of, way_of
from chaos.transactions import RENEWALS_MAX, TransactionLoad

RUN = Run((*TOPICS, TRANSACTIONS), begun_ms=1_700_000_000_000, per_second=100)
OF_WAY = {way: next(number for number in range(1000) if way_of(number) is way) for way in Way}
COMMIT = OF_WAY[Way.COMMIT]

_Delivery = Callable[[KafkaError | None, Any], None]


class Broken:
    """A producer that fails as told: the next call of that name, so many times."""

    made: int = 0
    fails: dict[str, list[KafkaError]]

    def __init__(self, _: object) -> None:
        Broken.made += 1
        self.calls: list[str] = []
        self._waiting: list[tuple[_Delivery, int]] = []
        self._ends = [0, 0]

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if Broken.fails.get(name):
            raise KafkaException(Broken.fails[name].pop(0))

    def init_transactions(self, _: float) -> None:
        """Begin, as this producer of its id."""
        self._call("init")

    def begin_transaction(self) -> None:
        """Begin one."""
        self._call("begin")

    def commit_transaction(self, _: float) -> None:
        """End it."""
        self._call("commit")

    def abort_transaction(self, _: float) -> None:
        """End it the other way."""
        self._call("abort")

    def list_topics(self, topic: str, *, timeout: float) -> Any:
        """Know of two partitions."""
        assert timeout > 0
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions={0: None, 1: None})})

    def produce(self, *_: object, partition: int, on_delivery: _Delivery, **__: object) -> None:
        """Take a record; nothing is sent before `flush`."""
        self._waiting.append((on_delivery, partition))

    def flush(self, _: float) -> int:
        """Deliver, in order of produce."""
        for on_delivery, partition in self._waiting:
            failed = Broken.fails.get("delivery")
            message = SimpleNamespace(
                topic=lambda: TRANSACTIONS.name,
                partition=lambda at=partition: at,
                offset=lambda at=partition: self._at(at),
            )
            on_delivery(failed.pop(0) if failed else None, message)
        self._waiting.clear()
        return 0

    def _at(self, partition: int) -> int:
        self._ends[partition] += 1
        return self._ends[partition] - 1


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> TransactionLoad:
    """Return a load whose first producer is ready."""
    monkeypatch.setattr(chaos.transactions, "Producer", Broken)
    monkeypatch.setattr(chaos.transactions, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(Broken, "made", 0)
    monkeypatch.setattr(Broken, "fails", {}, raising=False)
    made = TransactionLoad("nowhere:1", RUN)
    made._renew()
    return made


def calls(load: TransactionLoad) -> list[str]:
    """Return what its producer was asked."""
    return [name for name in load._producer.calls if name not in {"init", "begin"}]  # type: ignore[union-attr]


def fatal() -> KafkaError:
    """Return what a fenced producer gets."""
    return KafkaError(KafkaError._FENCED, "fenced", fatal=True)


@pytest.mark.parametrize(
    ("way", "outcome", "asked"),
    [
        (Way.COMMIT, Outcome.COMMITTED, ["commit"]),
        (Way.LEAVE, Outcome.UNKNOWN, ["commit"]),
        (Way.ABORT, Outcome.ABORTED, ["abort"]),
        (Way.ABORT_EARLY, Outcome.ABORTED, ["abort"]),
    ],
)
def test_every_way(load: TransactionLoad, way: Way, outcome: Outcome, asked: list[str]) -> None:
    """Each ends as it is meant to."""
    assert load._do(OF_WAY[way])
    assert load.ledger.outcomes == {OF_WAY[way]: outcome}
    assert calls(load) == asked
    assert load.ledger.numbers[OF_WAY[way]] == len(numbers_of(OF_WAY[way]))


def test_a_failed_delivery_is_never_committed(load: TransactionLoad) -> None:
    """So that a transaction that may be seen is known as a whole."""
    Broken.fails = {"delivery": [KafkaError(KafkaError._MSG_TIMED_OUT)]}

    assert load._do(COMMIT)
    assert load.ledger.outcomes == {COMMIT: Outcome.ABORTED}
    assert calls(load) == ["abort"]
    assert not load.ledger.unknown
    assert load.ledger.records == len(numbers_of(COMMIT)) - 1


def test_a_commit_that_may_be_asked_again_is(load: TransactionLoad) -> None:
    """A time-out says nothing."""
    Broken.fails = {"commit": [KafkaError(KafkaError._TIMED_OUT, retriable=True)] * 2}

    assert load._do(COMMIT)
    assert load.ledger.outcomes == {COMMIT: Outcome.COMMITTED}
    assert calls(load) == ["commit"] * 3


@pytest.mark.parametrize(
    "error", [fatal(), KafkaError(KafkaError.INVALID_PRODUCER_ID_MAPPING, "gone", txn_requires_abort=True)]
)
def test_a_failed_commit_is_unknown(load: TransactionLoad, error: KafkaError) -> None:
    """Whatever comes after it; and its producer is of no use any more."""
    Broken.fails = {"commit": [error]}

    assert not load._do(COMMIT)
    assert load.ledger.outcomes == {COMMIT: Outcome.UNKNOWN}
    assert load.renewals == 1


@pytest.mark.parametrize("name", ["begin", "abort"])
def test_a_failure_before_the_commit_is_an_abort(load: TransactionLoad, name: str) -> None:
    """Nobody asked for a commit: it cannot come about."""
    Broken.fails = {name: [fatal()]}
    transaction = OF_WAY[Way.ABORT]

    assert not load._do(transaction)
    assert load.ledger.outcomes == {transaction: Outcome.ABORTED}
    assert "commit" not in calls(load)


def test_a_dropped_transaction_is_an_abort(load: TransactionLoad) -> None:
    """Nobody asked for its commit; the next producer ends it, and that is no failure."""
    assert not load._do(OF_WAY[Way.DROP])
    assert load.ledger.outcomes == {OF_WAY[Way.DROP]: Outcome.ABORTED}
    assert (calls(load), load.renewals) == ([], 0)


def test_a_producer_that_is_left_is_no_failure(load: TransactionLoad) -> None:
    """It had no time to answer."""
    Broken.fails = {"commit": [KafkaError(KafkaError._TIMED_OUT, retriable=True)]}

    assert not load._do(OF_WAY[Way.LEAVE])
    assert load.ledger.outcomes == {OF_WAY[Way.LEAVE]: Outcome.UNKNOWN}
    assert load.renewals == 0


def test_renewals_are_bounded(load: TransactionLoad) -> None:
    """A source that lets no producer begin is a problem of the run, not a quiet topic."""
    Broken.fails = {"init": [fatal() for _ in range(3)]}
    load._renew()
    assert (Broken.made, load.renewals) == (5, 3)

    Broken.fails = {"init": [fatal() for _ in range(2 * RENEWALS_MAX)]}
    with pytest.raises(ChaosError, match="producers failed"):
        load._renew()


def test_a_load_that_failed_says_so(load: TransactionLoad) -> None:
    """At its stop, at the latest."""
    Broken.fails = {"init": [fatal() for _ in range(2 * RENEWALS_MAX)]}
    with load:
        load._thread.join(10)
        with pytest.raises(ChaosError, match="transactional load"):
            load.stop()


def test_it_ends_what_it_began(load: TransactionLoad) -> None:
    """Every transaction has an outcome after `stop`."""
    with load:
        while len(load.ledger.outcomes) < 2:
            assert load._thread.is_alive()
        load.stop()

    assert not load.problems
    assert set(load.ledger.outcomes.values()) <= {*Outcome}
    assert sum(load.ledger.count(outcome) for outcome in Outcome) == len(load.ledger.outcomes)


def test_transactions_are_of_every_kind() -> None:
    """About a third is aborted; numbers lead back to their transaction; contents follow from them."""
    ways = [way_of(transaction) for transaction in range(3000)]

    assert set(ways) == set(Way)
    assert 0.28 < sum(way in {Way.ABORT, Way.ABORT_EARLY, Way.DROP} for way in ways) / len(ways) < 0.38
    for transaction in range(200):
        assert {transaction_of(number) for number in numbers_of(transaction)} == {transaction}
        assert {RUN.topic_of(number) for number in numbers_of(transaction)} == {TRANSACTIONS}
    assert transaction_of(5) is None
    record = RUN.record(numbers_of(60)[0])
    assert record == RUN.record(numbers_of(60)[0])
    assert record.timestamp == RUN.begun_ms + 10_000


def test_a_source_that_acknowledges_twice_is_not_sound(load: TransactionLoad) -> None:
    """Two records at one offset: the run has no verdict."""
    load.ledger.note((TRANSACTIONS.name, 0), 0, numbers_of(COMMIT + 1)[0])
    load.ledger.note((TRANSACTIONS.name, 1), 0, numbers_of(COMMIT + 1)[0])
    load._do(COMMIT)

    assert "two records" in load.problems[0]
