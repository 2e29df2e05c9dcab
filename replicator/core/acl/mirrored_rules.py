"""Which rules of a source's authorizer a target gets, and which of them wait until it is opened.

- Rules about mirrored topics, about groups that follow, and about transactional ids; never about the cluster. A rule
  that covers more than the flow mirrors is written out for each topic that it does mirror.
- Rules that would let applications write to a mirror, or change it, are *withheld* while the target is the passive
  side: WRITE, and ALL, which is replaced by the rights to read.
- A rule for a whole prefix stays one only while every topic of the target with that prefix is a mirror of the flow:
  otherwise it would cover somebody else's topic too.
- Only rules that we made are ever removed: rules that were on the target before stay, whatever the source has.
- The first rule on a resource takes away the rights that everybody else had because there was no rule
  (KAFKA_FACTS K12): so ours comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from replicator.core.acl.granted_names import EVERY, Names, selected_names
from replicator.core.topics.selection import matches_group
from replicator.model.acl import (
    ALLOW,
    ANY_HOST,
    ANY_NAME,
    GROUP,
    LITERAL,
    PREFIXED,
    READING,
    TOPIC,
    TRANSACTIONAL_ID,
    Rule,
)
from replicator.model.names import STATE_TOPIC
from replicator.model.spec import FlowSpec

_OPENS = frozenset({"WRITE", "ALL", "ALTER", "ALTER_CONFIGS", "DELETE", "CREATE"})
_OURS = {TOPIC: ("ALL",), GROUP: ("DESCRIBE", "READ")}
_OUR_IDS = "replicator."


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Which rules a target should have, and the changes that get it there.

    Attributes:
        make: Rules to add, in this order.
        remove: Rules of ours to remove.
        made: All our rules that exist afterwards.
        withheld: Rules that are added once the target is opened.
        notes: Explanations for the operator.
    """

    make: tuple[Rule, ...] = ()
    remove: tuple[Rule, ...] = ()
    made: tuple[Rule, ...] = ()
    withheld: tuple[Rule, ...] = ()
    notes: tuple[str, ...] = ()


def mirrored(
    flow: FlowSpec,
    topics: Mapping[str, str],
    source: Iterable[Rule],
    target: Iterable[Rule],
    made: Iterable[Rule],
    us: tuple[str | None, str | None],
    *,
    opened: Collection[str] = (),
    foreign: Collection[str] = (),
) -> Mirrored:
    """Return what to do so that a passive target has the rules of its source.

    Args:
        flow: What is mirrored, and which groups follow.
        topics: The target's topic of each source topic that is mirrored to the passive side.
        source: All rules of the source.
        target: All present rules of the target.
        made: Those of them that we made before.
        us: Our principals on source and target; None if the flow file does not say.
        opened: Target topics of the flow that were switched alone: rules made for them stay. No rule for a whole
            prefix is added then, since it would cover both kinds of topics.
        foreign: Topics of the target that are not mirrors of the flow: no rule that covers one is added.
    """
    ours, standing = frozenset(made), frozenset(target)
    kept = {
        rule._replace(name=topic, pattern=LITERAL) for rule in ours for topic in opened if rule.covers(TOPIC, topic)
    }
    notes: list[str] = []
    wanted: set[Rule] = set()
    withheld: set[Rule] = set()
    unknown = 0
    for rule in source:
        if rule.principal in us:
            continue
        if not rule.is_known:
            unknown += 1
            continue
        for there in _translated(rule, flow, topics, notes, by_prefix=not opened, foreign=foreign):
            if there.kind == TOPIC and there.permission == ALLOW and there.operation in _OPENS:
                withheld.add(there)
                if there.operation == "ALL":
                    wanted |= {there._replace(operation=operation) for operation in READING}
            else:
                wanted.add(there)
    if unknown:
        notes.append(f"{unknown} rules are not mirrored: this version does not know what they allow or deny")
    first, refused = _ours_first(wanted, standing - ours, us[1])
    if refused:
        notes.append(f"{refused} rules are not mirrored: the flow file does not name our principal on the target")
        wanted = {rule for rule in wanted if rule.kind not in _OURS}
    wanted |= {*first, *kept}
    # A rule that was there before is not ours, even if we would have added it.
    mine = wanted - (standing - ours)
    return Mirrored(
        make=(*sorted(set(first) - standing), *sorted(mine - standing - set(first))),
        remove=tuple(sorted((ours & standing) - wanted)),
        made=tuple(sorted(mine)),
        withheld=tuple(sorted(withheld - (standing - ours))),
        notes=tuple(sorted(set(notes))),
    )


def _ours_first(wanted: set[Rule], theirs: frozenset[Rule], us: str | None) -> tuple[list[Rule], int]:
    """Return rules for us on everything that gets a rule and has none for us, and how many rules cannot be added."""
    places = {(rule.kind, rule.name, rule.pattern) for rule in wanted if rule.kind in _OURS}
    if us is None:
        return [], sum(rule.kind in _OURS for rule in wanted)
    made = []
    for kind, name, pattern in sorted(places):
        if any(rule.principal == us and rule.permission == ALLOW and rule.covers(kind, name) for rule in theirs):
            continue
        made += [Rule(kind, name, pattern, us, ANY_HOST, operation, ALLOW) for operation in _OURS[kind]]
    return made, 0


def _translated(
    rule: Rule,
    flow: FlowSpec,
    topics: Mapping[str, str],
    notes: list[str],
    *,
    by_prefix: bool,
    foreign: Collection[str],
) -> Iterator[Rule]:
    """Yield what a rule of the source becomes on the target."""
    if rule.kind == TOPIC:
        prefix = (flow.rename.prefix or "") + rule.name
        alone = rule.pattern != PREFIXED or not any(name.startswith(prefix) for name in foreign)
        yield from _of_topics(rule, flow, topics, by_prefix=by_prefix and alone)
    elif rule.kind == GROUP:
        if _follows(rule, flow):
            yield rule
        elif rule.pattern == PREFIXED or rule.name == ANY_NAME:
            notes.append(f"not mirrored, as it covers groups that do not follow: {rule}")
    elif rule.kind == TRANSACTIONAL_ID and not rule.name.startswith(_OUR_IDS):
        yield rule


def _of_topics(rule: Rule, flow: FlowSpec, topics: Mapping[str, str], *, by_prefix: bool) -> Iterator[Rule]:
    rename = flow.rename
    if by_prefix and rule.pattern == PREFIXED and rename.regex is None:
        whole = Names(rule.name, prefixed=True)
        if any(names.covers(whole) for names in selected_names(flow.topics)) and not flow.topics.exclude:
            yield rule._replace(name=(rename.prefix or "") + rule.name)
            return
    if rule.pattern == LITERAL and rule.name != ANY_NAME:  # nearly all of them
        if rule.name in topics and rule.name != STATE_TOPIC:
            yield rule._replace(name=topics[rule.name])
        return
    for topic, there in topics.items():
        if topic != STATE_TOPIC and rule.covers(TOPIC, topic):
            yield rule._replace(name=there, pattern=LITERAL)


def _follows(rule: Rule, flow: FlowSpec) -> bool:
    means = flow.group_sync.groups
    if rule.pattern == LITERAL and rule.name != ANY_NAME:
        return matches_group(means, rule.name)
    if means.exclude:
        return False
    whole = EVERY if rule.name == ANY_NAME else Names(rule.name, prefixed=True)
    return any(names.covers(whole) for names in selected_names(means))
