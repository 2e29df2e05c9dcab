"""Whether somebody may do something: nobody may, unless a rule says so."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from replicator.model.access import AccessRole, AccessRule


def allowed(rules: Iterable[AccessRule], identities: Iterable[str], role: AccessRole, flow: str | None) -> bool:
    """Return whether any of the names in a certificate has a role.

    Args:
        rules: Those of the flow file.
        identities: The names.
        role: What is to be done.
        flow: With which flow; None for something that is about all of them.
    """
    names = tuple(identities)
    return any(
        (role in rule.roles or role is AccessRole.OBSERVE)
        and any(fnmatchcase(name, rule.identity) for name in names)
        and _means(rule, flow)
        for rule in rules
    )


def _means(rule: AccessRule, flow: str | None) -> bool:
    if flow is None:
        return "*" in rule.flows
    return any(fnmatchcase(flow, pattern) for pattern in rule.flows)
