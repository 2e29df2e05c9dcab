"""Which rules keep writers off topics, and leave everything else as it is.

Three facts about Kafka's authorizers decide (KAFKA_FACTS K12): a DENY beats every ALLOW, so no name may be denied that
includes us; for a topic with no rule at all, `allow.everyone.if.no.acl.found` decides, until the first rule is added;
super users are never checked.

- No rule covers a topic, and everyone may then do everything: rules are added that allow everybody to read, and us to
  do everything. From then on nobody else may write, since a rule exists and does not name them.
- No rule covers it, and nobody may then do anything: it is closed already.
- Rules cover it: each principal that they let write is denied to write.
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
    """What is known about a cluster's authorizer.

    Attributes:
        rules: All its rules.
        allows_everyone: Whether everyone may do everything where no rule is found; None if that cannot be read.
        us: Our principal on the cluster; None if the flow file does not say.
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
        authorizer: The cluster's, with all its present rules.
        topics: Their names.
        ours: Rules that we may have added before, which are ignored.
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
        return LockPlan(problems=(f"{topic} has no rules, and whether everyone may write to it is unknown",))
    if authorizer.us is None:
        return LockPlan(problems=(f"{topic} has no rules, and the flow file does not name our principal",))
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
        return LockPlan(problems=(f"a rule lets everybody write to {topic}: denying everybody would deny us too",))
    return LockPlan(
        tuple(Rule(TOPIC, topic, LITERAL, principal, ANY_HOST, "WRITE", DENY) for principal in sorted(writers))
    )
