"""What a refusal of a transaction is about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from kio.schema.errors import ErrorCode

from replicator.errors import AuthorizationFailed
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.security import ClusterSpec
from replicator.wire.messages.data import transactions
from replicator.wire.messages.data.transactions import ProducerIdentity, Transaction


class Coordinator:
    """Refuses to enlist the state topic's partition."""

    def __init__(self, code: ErrorCode) -> None:
        self.code = code

    async def call(self, *_: object) -> object:
        """Answer."""
        partition = SimpleNamespace(partition_error_code=self.code)
        topic = SimpleNamespace(name=STATE_TOPIC, results_by_partition=(partition,))
        return SimpleNamespace(results_by_topic_v3_and_below=(topic,))


@pytest.mark.parametrize(
    ("code", "resource"),
    [
        (ErrorCode.topic_authorization_failed, f"--topic {STATE_TOPIC}"),
        (ErrorCode.transactional_id_authorization_failed, "--transactional-id"),
    ],
)
async def test_the_right_that_is_missing_is_named_on_what_it_is_missing(
    code: ErrorCode, resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that grants it names a topic that exists, not the transactional id."""

    async def coordinator(*_: object) -> Any:
        return Coordinator(code)

    monkeypatch.setattr(transactions, "coordinator", coordinator)
    cluster = SimpleNamespace(spec=ClusterSpec("west", (("127.0.0.1", 1),)))
    transaction = Transaction(cast("Any", cluster), "replicator.0123.state", ProducerIdentity(1, 0))
    with pytest.raises(AuthorizationFailed) as refused:
        await transaction.add(TopicPartition(STATE_TOPIC, 0))
    assert resource in refused.value.with_next_step()
    assert "--topic replicator.0123.state" not in refused.value.with_next_step()
