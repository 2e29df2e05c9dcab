"""Which rules keep writers off topics, and leave everything else as it is.

Three facts of authorizers decide (KAFKA_FACTS K12): a DENY beats every ALLOW, so nobody may be denied whose name
stands for us as well; where a topic has no rule at all, `allow.everyone.if.no.acl.found` decides, and the first rule
that comes ends that; super users are never asked.

- No rule covers a topic, and everyone may then do everything: rules are added that allow everybody to read, and us
  everything. Nobody else may write any more, for a rule was found, and it is not theirs.
- No rule covers it, and nobody may do anything then: it is closed already.
- Rules cover it: whoever they let write is denied to write, one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from replicator.model.acl import (
    ALLOW,
    ANY_HOST,
    ANY_NAME,
    DENY,
    EVERYBODY,
    LITERAL,
    PREFIXED,
    READING,
    TOPIC,
    Rule,
)

_WRITING = frozenset({"WRITE", "ALL"})


@dataclass(frozen=True, slots=True)
class Authorizer:
    """What a cluster's authorizer is known to do.

    Attributes:
        rules: All there are.
        allows_everyone: Whether everyone may do everything where no rule is found; None where that cannot be read.
        us: As whom the cluster knows us; None where the flow file does not tell.
    """

    rules: tuple[Rule, ...]
    allows_everyone: bool | None
    us: str | None = None


@dataclass(frozen=True, slots=True)
class LockPlan:
    """Rules that close topics, and why some cannot be closed."""

    rules: tuple[Rule, ...] = ()
    problems: tuple[str, ...] = ()


def locks(authorizer: Authorizer, topics: Iterable[str], ours: frozenset[Rule] = frozenset()) -> LockPlan:
    """Return what keeps everybody but us from writing to topics.

    Args:
        authorizer: The cluster's, with whatever stands there now.
        topics: Their names.
        ours: Rules that we may have placed before: they are looked away from.
    """
    found: set[Rule] = set()
    problems: list[str] = []
    by_name: dict[str, list[Rule]] = {}
    of_many: list[Rule] = []
    for rule in authorizer.rules:
        if rule.kind != TOPIC or rule in ours:
            continue
        if rule.pattern == PREFIXED or rule.name == ANY_NAME:
            of_many.append(rule)
        else:
            by_name.setdefault(rule.name, []).append(rule)
    for topic in sorted(topics):
        covering = [*by_name.get(topic, ()), *(rule for rule in of_many if rule.covers(TOPIC, topic))]
        plan = _by_denying(authorizer, topic, covering) if covering else _by_allowing(authorizer, topic)
        found |= set(plan.rules)
        problems += plan.problems
    return LockPlan(tuple(sorted(found)), tuple(problems))


def _by_allowing(authorizer: Authorizer, topic: str) -> LockPlan:
    if authorizer.allows_everyone is False:
        return LockPlan()
    if authorizer.allows_everyone is None:
        return LockPlan(problems=(f"whether everyone may write to {topic}, which has no rules, cannot be told",))
    if authorizer.us is None:
        return LockPlan(problems=(f"{topic} has no rules, and the flow file does not tell as whom we log in",))
    reading = [Rule(TOPIC, topic, LITERAL, EVERYBODY, ANY_HOST, operation, ALLOW) for operation in READING]
    return LockPlan((*reading, Rule(TOPIC, topic, LITERAL, authorizer.us, ANY_HOST, "ALL", ALLOW)))


def _by_denying(authorizer: Authorizer, topic: str, covering: list[Rule]) -> LockPlan:
    writers = {rule.principal for rule in covering if rule.permission == ALLOW and rule.operation in _WRITING}
    denied = {
        rule.principal
        for rule in covering
        if rule.permission == DENY and rule.operation in _WRITING and rule.host == ANY_HOST
    }
    writers -= {authorizer.us} | denied
    if EVERYBODY in denied:
        return LockPlan()
    if EVERYBODY in writers:
        return LockPlan(problems=(f"a rule lets everybody write to {topic}: denying everybody would deny us, too",))
    return LockPlan(
        tuple(Rule(TOPIC, topic, LITERAL, principal, ANY_HOST, "WRITE", DENY) for principal in sorted(writers))
    )
