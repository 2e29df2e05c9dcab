"""A refusal of one topic, in the words that an operator needs."""

from __future__ import annotations

import pytest

from replicator.core.acl.rights import NEEDED_BY
from replicator.core.topics.plan import MirrorFault
from replicator.engine.logs import refusals as access
from replicator.engine.topics.mirror import fault_of
from replicator.errors import AuthorizationFailed, BrokerRefused
from replicator.model.security import ClusterSpec, Mechanism, Protocol, Security
from replicator.model.status.states import Reason

WEST = ClusterSpec("west", (("w", 9092),), security=Security(Protocol.SASL_SSL, Mechanism.PLAIN, username="repl"))


@pytest.mark.parametrize(
    ("api", "right"),
    [("Fetch", "Read"), ("Produce", "Write"), ("ListOffsets", "Describe"), ("DescribeProducers", "Read")],
)
def test_a_missing_right_is_named_by_what_was_asked(api: str, right: str) -> None:
    """Each request has one operation that a topic can refuse; the text of the error is all that a partition keeps."""
    error = access.broker_error(WEST, api, 29, "orders")
    assert isinstance(error, AuthorizationFailed)
    assert not error.retryable
    assert str(error) == access.describe_refusal(WEST, api, 29, "orders")
    assert str(error) == (
        f"west does not allow {right} on topic orders to User:repl (TOPIC_AUTHORIZATION_FAILED); "
        "next: kafka-acls.sh --bootstrap-server w:9092 --add --allow-principal User:repl "
        f"--operation {right} --topic orders"
    )
    assert NEEDED_BY[api] == right


def test_other_refusals_keep_the_brokers_words() -> None:
    """No right is made up for them."""
    assert access.describe_refusal(WEST, "Produce", 87, "orders", "no key") == "INVALID_RECORD: no key"
    assert isinstance(access.broker_error(WEST, "ListOffsets", 3, "orders"), BrokerRefused)


def test_a_topic_that_may_not_be_created_waits_for_the_right() -> None:
    """It goes on by itself once it may; a policy is no missing right. Both keep the next step."""
    denied = AuthorizationFailed("could not create", cluster="west", why="no", next_step="kafka-acls.sh ...")
    assert fault_of(denied) == MirrorFault(Reason.WAITING_FOR_ACCESS, "could not create: no; next: kafka-acls.sh ...")
    policy = BrokerRefused("could not create", cluster="west", code=44, api="CreateTopics", why="policy")
    told = "could not create: policy; next: ask the cluster's owner: a policy of the cluster refuses it"
    assert fault_of(policy) == MirrorFault(Reason.TARGET_REFUSED, told)
