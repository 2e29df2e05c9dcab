"""All rules of an authorizer are read, in pieces; what is not wanted is not kept, and a refusal is none of them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from kio.schema.describe_acls.v2.response import AclDescription, DescribeAclsResource, DescribeAclsResponse
from kio.schema.errors import ErrorCode
from kio.static.primitive import i8

from replicator.errors import AuthorizationFailed, KafkaError
from replicator.model.acl import Rule
from replicator.model.security import ClusterSpec
from replicator.wire.messages.acls import rules_of
from replicator.wire.protocol.limits import limit_of
from replicator.wire.transport.connection import Connection
from tests.unit.wire.messages import AT_ONCE, encoded

if TYPE_CHECKING:
    from collections.abc import Iterable


def resource(kind: int, name: str, pattern: int = 3, *acls: tuple[str, int, int]) -> DescribeAclsResource:
    """Return a resource with its rules: principal, operation, permission."""
    described = [
        AclDescription(principal=who, host="*", operation=i8(operation), permission_type=i8(permission))
        for who, operation, permission in acls
    ]
    return DescribeAclsResource(
        resource_type=i8(kind), resource_name=name, pattern_type=i8(pattern), acls=tuple(described)
    )


class Broker:
    """A connection whose broker answers with these bytes; they are decoded as those of any other are."""

    def __init__(self, resources: Iterable[DescribeAclsResource] = (), error: ErrorCode = ErrorCode.none) -> None:
        answer = DescribeAclsResponse(
            throttle_time=AT_ONCE,
            error_code=error,
            error_message="no" if error is not ErrorCode.none else None,
            resources=tuple(resources),
        )
        view = memoryview(encoded(answer))
        self.frame = SimpleNamespace(view=view, size=len(view))
        self.cluster = ClusterSpec("east", (("e", 1),))
        self.node = "broker 1"

    async def call(self, request: Any, answer: Any, *, keep: Any) -> Any:
        """Answer."""
        assert request.resource_name_filter is None
        return await Connection.decode(cast("Any", self), cast("Any", self.frame), answer, keep)

    def throttle(self, seconds: float) -> None:
        """It asks for no pause."""
        assert not seconds

    async def rules(self, *topics: str) -> list[Rule] | None:
        """Return the rules, of topics by their name those about these."""
        return await rules_of(cast("Connection", self), topics.__contains__)


async def test_what_something_follows_from_is_kept() -> None:
    """Rules about one topic by its name where it is asked about, those about many, about groups and ids; no others."""
    app = ("User:app", 3, 3)
    found = await Broker(
        [
            resource(2, "orders", 3, app, ("User:bad", 4, 2)),
            resource(2, "other", 3, app),
            resource(2, "*", 3, app),
            resource(2, "ot", 4, app),
            resource(3, "group", 3, app),
            resource(5, "id", 3, ("User:app", 15, 3)),
            resource(4, "kafka-cluster", 3, app),
            resource(7, "User:x", 3, app),
        ]
    ).rules("orders")
    rule = Rule("TOPIC", "orders", "LITERAL", "User:app", "*", "READ", "ALLOW")
    assert found == [
        rule,
        rule._replace(principal="User:bad", operation="WRITE", permission="DENY"),
        rule._replace(name="*"),
        rule._replace(name="ot", pattern="PREFIXED"),
        rule._replace(kind="GROUP", name="group"),
        rule._replace(kind="TRANSACTIONAL_ID", name="id", operation="15"),
    ]
    assert [one.is_known for one in found] == [True] * 5 + [False]


async def test_more_than_four_mebibytes_are_read_while_others_run() -> None:
    """Librdkafka takes no larger answer: that of 40,000 rules was refused."""
    broker = Broker(
        resource(
            2, f"orders-{number:05}-{'x' * 60}", 3, *((f"User:CN=app-{one},OU={'y' * 80}", 3, 3) for one in range(10))
        )
        for number in range(5_000)
    )
    assert 4 << 20 < len(broker.frame.view) < limit_of(29).answer_bytes_max
    turns = 0
    reading = asyncio.ensure_future(rules_of(cast("Connection", broker), lambda _: True))
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    assert len(reading.result() or ()) == 50_000
    assert turns >= len(broker.frame.view) >> 14, "a turn for each 16 KiB"
    assert await broker.rules() == []


@pytest.mark.parametrize(
    ("code", "error"),
    [(ErrorCode.cluster_authorization_failed, AuthorizationFailed), (ErrorCode.unknown_server_error, KafkaError)],
)
async def test_a_refusal_is_not_an_authorizer_without_rules(code: ErrorCode, error: type[KafkaError]) -> None:
    """All that were mirrored would go from the target."""
    with pytest.raises(error):
        await Broker(error=code).rules()


async def test_a_cluster_without_an_authorizer_says_so() -> None:
    """None, and not an empty list."""
    assert await Broker(error=ErrorCode.security_disabled).rules() is None
    assert await Broker().rules() == []


async def test_a_resource_of_very_many_rules_is_taken_in_pieces() -> None:
    """Everybody has a rule about it."""
    found = await Broker(
        [resource(2, "*", 3, *((f"User:{one}", 3, 3) for one in range(2_500))), resource(3, "g")]
    ).rules()
    assert [one.principal for one in found or ()] == [f"User:{one}" for one in range(2_500)]
