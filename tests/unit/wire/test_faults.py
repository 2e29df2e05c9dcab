"""What is said of a broker's refusal."""

from __future__ import annotations

import pytest

from replicator.errors import AuthorizationFailed
from replicator.model.security import ClusterSpec, Mechanism, Protocol, Security
from replicator.wire.faults import refused

EAST = ClusterSpec("east", (("e", 9092),), security=Security(Protocol.SASL_SSL, Mechanism.PLAIN, username="repl"))
_GROUP_AUTHORIZATION_FAILED = 30


@pytest.mark.parametrize("api", ["FindCoordinator", "OffsetFetch"])
def test_a_group_that_may_not_be_described_is_told_with_the_right_and_the_command(api: str) -> None:
    """Which request was refused first depends on the broker; the right is the same, and no other helps."""
    error = refused(EAST, api, _GROUP_AUTHORIZATION_FAILED, "billing")
    assert isinstance(error, AuthorizationFailed)
    assert not error.retryable
    assert str(error) == (
        "east does not allow Describe on group billing to User:repl (GROUP_AUTHORIZATION_FAILED); "
        "next: kafka-acls.sh --bootstrap-server e:9092 --add --allow-principal User:repl "
        "--operation Describe --group billing"
    )
