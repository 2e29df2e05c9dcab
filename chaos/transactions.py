"""The transactional load: one producer after another of the same transactional id, one transaction at a time.

A commit is asked for only when every record of its transaction is acknowledged. So one that fails before that was never
asked for, and can only be aborted: by us, by the next producer of the id, or by the coordinator when time is up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from chaos.background import Background
from chaos.errors import ChaosError
from chaos.ledger import Outcome, TransactionLedger
from chaos.records import TRANSACTIONS, TRANSACTIONS_PER_SECOND, Run, Way, numbers_of, way_of

RENEWALS_MAX = 30
"""Producers that may fail in one run, beside those that are left on purpose."""

_CALL_SECONDS_MAX = 15.0
_FATE_SECONDS_MAX = 60.0
"""Longest time for one step of a transaction, all its attempts together."""
_FLUSH_SECONDS_MAX = 25.0
_STOP_SECONDS_MAX = 200.0
_EXIT_SECONDS_MAX = 30.0
_LEAVE_SECONDS = 0.001
_AGAIN_SECONDS = 0.1
_TWO_GOES = 4
"""One transaction of so many waits for its first half: then a partition has several batches of it."""


class TransactionLoad(Background):
    """Writes transactions to the source, in the background. A context manager.

    Attributes:
        ledger: What the source said; whole after `stop`.
        renewals: Producers that failed.
    """

    def __init__(self, bootstrap: str, run: Run) -> None:
        super().__init__("transactions", _EXIT_SECONDS_MAX)
        self.ledger = TransactionLedger()
        self.renewals = 0
        self._settings = _settings(bootstrap)
        self._records = run
        self._producer: Producer | None = None
        self._partitions = 1
        self._failed = 0

    def stop(self) -> None:
        """Begin no more, and wait until the last one has ended: an open one would hold readers up.

        Raises:
            ChaosError: It has not when time is up, or the load failed.
        """
        self._stopping.set()
        self._thread.join(_STOP_SECONDS_MAX)
        if self._thread.is_alive():
            self.problems.append(f"a transaction has not ended after {_STOP_SECONDS_MAX:.0f} s")
        if self.problems:
            raise ChaosError(
                "the transactional load on the source failed",
                why="; ".join(self.problems[:3]),
                next_step="read the source's logs",
            )

    def _write(self) -> None:
        transaction = 0
        self._renew()
        while not self._stopping.wait(1 / TRANSACTIONS_PER_SECOND):
            if not self._do(transaction):
                self._renew()
            transaction += 1

    # -- one transaction --------------------------------------------------------------------------------------------

    def _do(self, transaction: int) -> bool:
        """Do one; return whether its producer is of use after it."""
        way = way_of(transaction)
        self.ledger.outcomes[transaction] = Outcome.ABORTED  # until its commit is asked for
        try:
            whole = self._fill(transaction)
            if way is Way.DROP:
                return False
            if not whole or way in {Way.ABORT, Way.ABORT_EARLY}:
                self._insist(lambda producer: producer.abort_transaction(_CALL_SECONDS_MAX))
                return True
            self.ledger.outcomes[transaction] = Outcome.UNKNOWN
            if way is Way.LEAVE:
                return self._leave()
            self._insist(lambda producer: producer.commit_transaction(_CALL_SECONDS_MAX))
        except KafkaException as error:
            self._count_failure(error)
            return False
        self.ledger.outcomes[transaction] = Outcome.COMMITTED
        return True

    def _fill(self, transaction: int) -> bool:
        """Write the records; return whether all are acknowledged, as far as that was waited for.

        Raises:
            KafkaException: The producer cannot go on.
        """
        producer, numbers = self._current(), numbers_of(transaction)
        self._failed = 0
        producer.begin_transaction()
        self._look_at_partitions(producer)
        for at, number in enumerate(numbers):
            if at == len(numbers) // 2 and not transaction % _TWO_GOES:
                producer.flush(_FLUSH_SECONDS_MAX)
            self._send(producer, number, (transaction + at) % self._partitions)
        self.ledger.numbers[transaction] = len(numbers)
        if way_of(transaction) is Way.ABORT_EARLY:
            return False
        return producer.flush(_FLUSH_SECONDS_MAX) == 0 and not self._failed

    def _send(self, producer: Producer, number: int, partition: int) -> None:
        record = self._records.record(number)
        producer.produce(
            TRANSACTIONS.name,
            record.value,
            record.key,
            partition=partition,
            on_delivery=self._delivery_of(number, len(record.value or b"")),
            timestamp=record.timestamp,
            headers=list(record.headers),
        )

    def _look_at_partitions(self, producer: Producer) -> None:
        """Learn of new partitions; while nobody answers, the known ones will do."""
        try:
            known = producer.list_topics(TRANSACTIONS.name, timeout=1.0).topics[TRANSACTIONS.name]
        except KafkaException:
            return
        # A broker that has just started may know of fewer, or of none.
        self._partitions = max(self._partitions, len(known.partitions))

    def _delivery_of(self, number: int, size: int) -> Callable[[KafkaError | None, Message], None]:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            offset, partition = message.offset(), message.partition()
            if error is not None or offset is None or partition is None:
                # Not an unknown outcome: its transaction is aborted, so it may stand in the log and never be seen.
                self._failed += 1
                return
            try:
                self.ledger.note((str(message.topic()), partition), offset, number)
            except ChaosError as doubled:
                self.problems.append(str(doubled))
            self.ledger.value_bytes += size

        return on_delivery

    def _leave(self) -> bool:
        """Ask for the commit, and have no time for the answer."""
        try:
            self._current().commit_transaction(_LEAVE_SECONDS)
        except KafkaException:
            return False
        return True  # it answered in time, and stays unknown all the same: nothing is wrong with that

    def _insist(self, call: Callable[[Producer], None]) -> None:
        """Make a call until its outcome is told.

        Raises:
            KafkaException: It cannot be told, or not within the bound.
        """
        producer, deadline = self._current(), time.monotonic() + _FATE_SECONDS_MAX
        while True:
            try:
                call(producer)
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise
                time.sleep(_AGAIN_SECONDS)
            else:
                return

    # -- producers --------------------------------------------------------------------------------------------------

    def _current(self) -> Producer:
        if self._producer is None:
            raise ChaosError("there is no producer")
        return self._producer

    def _renew(self) -> None:
        """Make a producer of the same transactional id, which ends what the one before it left open.

        Raises:
            ChaosError: Too many have failed.
        """
        while True:
            self._producer = Producer(self._settings)
            try:
                self._insist(lambda producer: producer.init_transactions(_CALL_SECONDS_MAX))
            except KafkaException as error:
                self._count_failure(error)
            else:
                return

    def _count_failure(self, error: KafkaException) -> None:
        self.renewals += 1
        if self.renewals > RENEWALS_MAX:
            raise ChaosError(f"{self.renewals} transactional producers failed", why=str(error)) from error


def _settings(bootstrap: str) -> dict[str, object]:
    return {
        "bootstrap.servers": bootstrap,
        "transactional.id": "chaos-load",
        # Longer than one step takes; what nobody ends is aborted by the coordinator well before the last wait is over.
        "transaction.timeout.ms": 40_000,
        "message.timeout.ms": 20_000,
        "compression.type": TRANSACTIONS.codec,
        "linger.ms": TRANSACTIONS.linger_ms,
        "reconnect.backoff.max.ms": 1000,
        "socket.timeout.ms": 10_000,
        "log_level": 0,  # it writes of every killed broker to standard error
    }
