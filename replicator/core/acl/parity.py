"""What applications have on the source and would lack on the target: rules, users, quotas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from replicator.core.acl.locks import Authorizer, locks
from replicator.core.acl.mirrored_rules import mirrored
from replicator.model.acl import Rule
from replicator.model.operations.report import Check, ok, warn
from replicator.model.spec import FlowSpec

_NAMED_MAX = 3
Quotas = Mapping[tuple[str, ...], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class SideParity:
    """What one cluster has. None: it could not be read, and `unread` says why.

    Attributes:
        rules: The rules of its authorizer; empty if it has none.
        has_authorizer: Whether it has one.
        users: Names with SCRAM credentials.
        quotas: Limits by entity, each a list of `type=name`.
        us: Our principal; None if the flow file does not say.
        unread: Why fields that are None could not be read.
        not_offered: Findings (`users`, `quotas`) that its version of Kafka cannot report.
        may_place_rules: Whether we may add rules; None if it does not say.
        allows_everyone: False if certainly nobody may do anything where there is no rule; None if that is unknown.
    """

    rules: tuple[Rule, ...] | None = None
    has_authorizer: bool = False
    users: frozenset[str] | None = None
    quotas: Quotas | None = None
    us: str | None = None
    unread: str = ""
    not_offered: frozenset[str] = frozenset()
    allows_everyone: bool | None = None
    may_place_rules: bool | None = None


def compared(
    flow: FlowSpec, topics: Mapping[str, str], there: SideParity, here: SideParity, ours: tuple[Rule, ...]
) -> list[Check]:
    """Return what differs.

    Args:
        flow: The flow.
        topics: The target's topic of each mirrored source topic.
        there: The source.
        here: The target.
        ours: Rules on the target that we made, or add once it is opened.
    """
    return [*_rules(flow, topics, there, here, ours), _users(there, here), _quotas(there, here)]


def closable(flow: FlowSpec, topics: Iterable[str], there: SideParity, *, to_grant: str = "") -> list[Check]:
    """Return whether a switchover could close the source by rules; nothing if it has no authorizer, or it is unknown.

    Args:
        flow: The flow.
        topics: The source's topics.
        there: The source.
        to_grant: The command that grants the right to add rules there.
    """
    if flow.both_ways or there.rules is None or not there.has_authorizer:
        return []
    stated = "stop its producers and pass --producers-stopped"
    plan = locks(Authorizer(there.rules, there.allows_everyone, there.us), topics)
    problems = plan.problems
    if not problems and plan.rules and there.may_place_rules is False:
        text = f"a switchover cannot close {flow.source} by rules: we lack Alter on the cluster"
        return [warn("closing", text, f"{to_grant}; or at the switchover {stated}" if to_grant else stated)]
    if not problems:
        return [ok("closing", f"a switchover can close {flow.source} by rules in its authorizer")]
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    text = f"a switchover may not be able to close {flow.source} by rules: {problems[0]}{more}"
    dry_run = f"`replicator switchover {flow.name} --dry-run` tries it"
    return [warn("closing", text, f"{dry_run}; if it refuses, {stated}")]


def _rules(
    flow: FlowSpec, topics: Mapping[str, str], there: SideParity, here: SideParity, ours: tuple[Rule, ...]
) -> list[Check]:
    if there.rules is None or here.rules is None:
        return [warn("rules", f"the rules of the authorizers could not be read: {there.unread or here.unread}")]
    if there.has_authorizer != here.has_authorizer:
        which = "source" if there.has_authorizer else "target"
        return [warn("rules", f"only the {which} has an authorizer: applications have other rights on the other side")]
    if not there.has_authorizer:
        return [ok("rules", "neither cluster has an authorizer")]
    plan = mirrored(flow, topics, there.rules, here.rules, (), (there.us, here.us))
    missing = [rule for rule in (*plan.make, *plan.withheld) if rule.principal != here.us and rule not in ours]
    if not missing:
        return [ok("rules", "applications may do on the open target whatever they may do on the source")]
    named = "; ".join(str(rule) for rule in missing[:_NAMED_MAX])
    more = f" and {len(missing) - _NAMED_MAX} more" if len(missing) > _NAMED_MAX else ""
    helps = (
        "wait a minute: they follow" if flow.acls.mirror else "set acls.mirror: true, or add them with kafka-acls.sh"
    )
    return [warn("rules", f"{len(missing)} rules have no counterpart on the target: {named}{more}", helps)]


def _not_offered(name: str, what: str, there: SideParity, here: SideParity) -> Check | None:
    """Return the finding that a side's version of Kafka cannot list something; None if both can."""
    sides = [side for side, parity in (("source", there), ("target", here)) if name in parity.not_offered]
    if not sides:
        return None
    return warn(
        name,
        f"not compared: the version of Kafka on the {' and the '.join(sides)} has no {what}",
        "before a switch, check by hand that applications will find what they need on the other side",
    )


def _users(there: SideParity, here: SideParity) -> Check:
    if (check := _not_offered("users", "lists of SCRAM users", there, here)) is not None:
        return check
    if there.users is None or here.users is None:
        return warn("users", f"SCRAM users could not be read: {there.unread or here.unread}")
    missing = sorted(there.users - here.users)
    if not missing:
        return ok("users", "every SCRAM user of the source is on the target too; passwords cannot be compared")
    return warn(
        "users",
        f"{len(missing)} SCRAM users are missing on the target: {', '.join(missing[:_NAMED_MAX])}",
        "add them with kafka-configs.sh --alter --entity-type users; passwords cannot be copied",
    )


def _quotas(there: SideParity, here: SideParity) -> Check:
    if (check := _not_offered("quotas", "lists of quotas", there, here)) is not None:
        return check
    if there.quotas is None or here.quotas is None:
        return warn("quotas", f"quotas could not be read: {there.unread or here.unread}")
    other = [entity for entity, limits in there.quotas.items() if here.quotas.get(entity) != limits]
    if not other:
        return ok("quotas", "every quota of the source is the same on the target")
    named = "; ".join(" ".join(entity) for entity in sorted(other)[:_NAMED_MAX])
    return warn(
        "quotas", f"{len(other)} quotas differ on the target: {named}", "set them with kafka-configs.sh --alter"
    )
