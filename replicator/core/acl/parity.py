"""What applications have on the source and would miss on the target: rules, users, quotas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from replicator.core.acl.locks import Authorizer, locks
from replicator.core.acl.mirrored_rules import mirrored
from replicator.model.acl import Rule
from replicator.model.report import Check, ok, warn
from replicator.model.spec import FlowSpec

_NAMED_MAX = 3
Quotas = Mapping[tuple[str, ...], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class SideParity:
    """What one cluster has. None: it could not be asked, `unread` tells why.

    Attributes:
        rules: Of its authorizer; empty where it has none.
        has_authorizer: Whether it has one.
        users: Names with SCRAM credentials.
        quotas: Limits by entity, each a list of `type=name`.
        us: As whom it knows us; None where the flow file does not tell.
        unread: Why what is None could not be asked.
        not_offered: Findings (`users`, `quotas`) that its version of Kafka cannot be asked for.
        may_place_rules: Whether we may place rules; None where it does not tell.
        allows_everyone: False where surely nobody may do anything to what has no rule; None where it does not show.
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
        ours: Rules on the target that we made, or place once it is opened.
    """
    return [*_rules(flow, topics, there, here, ours), _users(there, here), _quotas(there, here)]


def closable(flow: FlowSpec, topics: Iterable[str], there: SideParity, *, to_grant: str = "") -> list[Check]:
    """Return whether a switchover could close the source by rules; nothing where it has none, or they are not known.

    Args:
        flow: The flow.
        topics: Of the source.
        there: The source.
        to_grant: The command that grants the right to place rules there.
    """
    if flow.both_ways or there.rules is None or not there.has_authorizer:
        return []
    stated = "stop its producers, and state it with --producers-stopped"
    plan = locks(Authorizer(there.rules, there.allows_everyone, there.us), topics)
    problems = plan.problems
    if not problems and plan.rules and there.may_place_rules is False:
        text = f"a switchover cannot close {flow.source} by rules: Alter on the cluster is not allowed"
        return [warn("closing", text, f"{to_grant}; or at the switchover {stated}" if to_grant else stated)]
    if not problems:
        return [ok("closing", f"a switchover can close {flow.source} by rules of its authorizer")]
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    text = f"a switchover may not be able to close {flow.source} by rules: {problems[0]}{more}"
    dry_run = f"`replicator switchover {flow.name} --dry-run` tries it out"
    return [warn("closing", text, f"{dry_run}; where it refuses, {stated}")]


def _rules(
    flow: FlowSpec, topics: Mapping[str, str], there: SideParity, here: SideParity, ours: tuple[Rule, ...]
) -> list[Check]:
    if there.rules is None or here.rules is None:
        return [warn("rules", f"rules of the authorizers could not be read: {there.unread or here.unread}")]
    if there.has_authorizer != here.has_authorizer:
        which = "source" if there.has_authorizer else "target"
        return [warn("rules", f"only the {which} has an authorizer: applications have other rights on the other side")]
    if not there.has_authorizer:
        return [ok("rules", "neither cluster has an authorizer")]
    plan = mirrored(flow, topics, there.rules, here.rules, (), (there.us, here.us))
    missing = [rule for rule in (*plan.make, *plan.withheld) if rule.principal != here.us and rule not in ours]
    if not missing:
        return [ok("rules", "what applications may do on the source they may do on the target once it is open")]
    named = "; ".join(str(rule) for rule in missing[:_NAMED_MAX])
    more = f" and {len(missing) - _NAMED_MAX} more" if len(missing) > _NAMED_MAX else ""
    helps = (
        "wait a minute: they follow" if flow.acls.mirror else "set acls.mirror: true, or place them by kafka-acls.sh"
    )
    return [warn("rules", f"{len(missing)} rules have no counterpart on the target: {named}{more}", helps)]


def _not_offered(name: str, what: str, there: SideParity, here: SideParity) -> Check | None:
    """Say that a side's version of Kafka does not list something, and what that means; None where both do."""
    sides = [side for side, told in (("source", there), ("target", here)) if name in told.not_offered]
    if not sides:
        return None
    return warn(
        name,
        f"{what} are not offered by the version of Kafka that the {' and the '.join(sides)} runs: not compared",
        "before a move, check by hand that applications will find what they need on the other side",
    )


def _users(there: SideParity, here: SideParity) -> Check:
    if (check := _not_offered("users", "lists of SCRAM users", there, here)) is not None:
        return check
    if there.users is None or here.users is None:
        return warn("users", f"SCRAM users could not be read: {there.unread or here.unread}")
    missing = sorted(there.users - here.users)
    if not missing:
        return ok("users", "every SCRAM user of the source is on the target, too; passwords cannot be compared")
    return warn(
        "users",
        f"{len(missing)} SCRAM users are missing on the target: {', '.join(missing[:_NAMED_MAX])}",
        "add them by kafka-configs.sh --alter --entity-type users; passwords cannot be copied",
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
    return warn("quotas", f"{len(other)} quotas differ on the target: {named}", "set them by kafka-configs.sh --alter")
