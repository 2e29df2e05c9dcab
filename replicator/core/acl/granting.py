"""Whether somebody may do something: nobody may, unless a rule says so."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from replicator.model.access_rules import AccessRole, AccessRule, Identity, IdentityKind

_UNTYPED = frozenset({IdentityKind.DNS, IdentityKind.EMAIL, IdentityKind.IP})
"""The kinds that a rule without one matches. Not URI, which is free text: `spiffe://x/a@ops.example` is no address."""


def granting(
    rules: Iterable[AccessRule], identities: Iterable[Identity], role: AccessRole, flow: str | None
) -> Identity | None:
    """Return the name in a certificate that gives a role; None if none does.

    Args:
        rules: The rules of the flow file.
        identities: The names in the certificate.
        role: The role that is needed.
        flow: The flow it is needed for; None for all of them.
    """
    names = tuple(identities)
    for rule in rules:
        if (role in rule.roles or role is AccessRole.OBSERVE) and _means(rule, flow):
            for name in names:
                if matches(rule.identity, name):
                    return name
    return None


def known(rules: Iterable[AccessRule], identities: Iterable[Identity]) -> Identity | None:
    """Return the name in a certificate that any rule matches; None for a stranger."""
    names = tuple(identities)
    return next((name for rule in rules for name in names if rule.flows and matches(rule.identity, name)), None)


def roles(rules: Iterable[AccessRule], identities: Iterable[Identity]) -> frozenset[AccessRole]:
    """Return every role that a caller has for any flow; none for a stranger."""
    names = tuple(identities)
    about = [rule for rule in rules if rule.flows and any(matches(rule.identity, name) for name in names)]
    return frozenset({AccessRole.OBSERVE} if about else ()).union(*(rule.roles for rule in about))


def matches(pattern: str, identity: Identity) -> bool:
    """Return whether a rule's identity matches a name; case does not matter in DNS names."""
    kind, glob = split(pattern)
    if identity.kind is not kind if kind is not None else identity.kind not in _UNTYPED:
        return False
    if identity.kind is IdentityKind.DNS:
        return fnmatchcase(identity.name.lower(), glob.lower())
    return fnmatchcase(identity.name, glob)


def split(pattern: str) -> tuple[IdentityKind | None, str]:
    """Return the kind that a rule's identity names (None if it names none), and the glob."""
    kind, colon, glob = pattern.partition(":")
    return (IdentityKind(kind), glob) if colon and kind in set(IdentityKind) else (None, pattern)


def _means(rule: AccessRule, flow: str | None) -> bool:
    if flow is None:
        return "*" in rule.flows
    return any(fnmatchcase(flow, pattern) for pattern in rule.flows)
