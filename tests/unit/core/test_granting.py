"""Which name in a certificate gives which right."""

from __future__ import annotations

import pytest

from replicator.core.acl.granting import granting, known, matches
from replicator.model.access_rules import AccessRole, AccessRule, Identity, IdentityKind

ANN = Identity(IdentityKind.EMAIL, "ann@ops.example")
HOST = Identity(IdentityKind.DNS, "D1.daemons.example")
SPIFFE = Identity(IdentityKind.URI, "spiffe://other/x@ops.example")
COMMON = Identity(IdentityKind.COMMON_NAME, "x@ops.example")
ADDRESS = Identity(IdentityKind.IP, "10.0.0.1")


@pytest.mark.parametrize(
    ("pattern", "means"),
    [
        ("*@ops.example", {ANN}),
        ("*", {ANN, HOST, ADDRESS}),
        ("email:*@ops.example", {ANN}),
        ("email:*", {ANN}),
        ("dns:*.DAEMONS.example", {HOST}),
        ("*.daemons.example", {HOST}),
        ("uri:spiffe://other/*", {SPIFFE}),
        ("uri:*@ops.example", {SPIFFE}),
        ("spiffe://other/*", set()),
        ("cn:*@ops.example", {COMMON}),
        ("ip:10.*", {ADDRESS}),
        ("DNS:*", set()),
    ],
)
def test_a_name_is_of_a_kind(pattern: str, means: set[Identity]) -> None:
    """A URI and a common name hold what their owner likes: only rules that name the kind are about them."""
    assert {one for one in (ANN, HOST, SPIFFE, COMMON, ADDRESS) if matches(pattern, one)} == means


def test_the_name_that_gives_the_right_is_told() -> None:
    """Not the first one of the certificate."""
    rules = [
        AccessRule("dns:*", (AccessRole.OBSERVE,)),
        AccessRule("email:ann@*", (AccessRole.OPERATE,), ("east-*",)),
    ]
    names = [SPIFFE, HOST, ANN]
    assert granting(rules, names, AccessRole.OPERATE, "east-1") == ANN
    assert granting(rules, names, AccessRole.OBSERVE, "west-1") == HOST
    assert granting(rules, names, AccessRole.OPERATE, "west-1") is None
    assert granting(rules, names, AccessRole.OPERATE, None) is None
    assert granting(rules, names, AccessRole.FAILOVER, "east-1") is None
    assert known(rules, [SPIFFE]) is None
    assert known(rules, [SPIFFE, ANN]) == ANN
