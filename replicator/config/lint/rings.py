"""Rules about flows that lead back to where they start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from replicator.config.lint.flows import bootstraps, feeding, name_on_target, same_cluster, samples
from replicator.config.lint.rule import Rule
from replicator.core.topics.selection import legal_topic_name, matches
from replicator.model.spec import FlowSpec, Pattern, PatternKind, Selection, Spec

_ANY_NAME = "x"
_PATHS_MAX = 10_000
"""Bounds the search for rings: far more paths than the flows of one file have."""


def rings(rule: Rule, spec: Spec) -> None:
    """Note every ring of flows in which a topic comes back under another name, and goes round again.

    Each round would add one more topic on each side, endlessly. At run time a flow leaves such topics out
    (`core.topics.choice`), but this rule does not rely on that: such a file does not say what its author wants.
    """
    known = {cluster.alias for cluster in spec.clusters}
    flows = [flow for flow in spec.flows if flow.source in known and flow.target in known]
    for ring in _rings(spec, flows):
        names = _round_trip(ring)
        if names is None:
            continue
        first, last = ring[0], ring[-1]
        cure = _exclude_that_ends(ring, names)
        way = " -> ".join(repr(name) for name in names)
        rule.note(
            ("flows", first.name, "topics"),
            f"its topics come back under other names through {_spelled(ring[1:])} and are copied again without end "
            f"({way}); needed: {cure} under flows.{first.name}.topics, or a narrower include",
            about=[*(path for flow in ring for path in feeding(flow)), *bootstraps(first.source, last.target)],
        )


def _spelled(flows: Sequence[FlowSpec]) -> str:
    return ("flow " if len(flows) == 1 else "flows ") + " and ".join(f"'{flow.name}'" for flow in flows)


def _rings(spec: Spec, flows: Sequence[FlowSpec]) -> Iterator[tuple[FlowSpec, ...]]:
    """Yield each ring of flows once, starting with the flow that comes first in the file.

    A flow and its way back never copy at the same time, so no ring goes through both.
    """
    places = {flow.name: at for at, flow in enumerate(flows)}
    following = {one.name: [other for other in flows if same_cluster(spec, one.target, other.source)] for one in flows}
    stack: list[tuple[FlowSpec, ...]] = [(flow,) for flow in reversed(flows)]
    for _ in range(_PATHS_MAX):
        if not stack:
            return
        path = stack.pop()
        for flow in following[path[-1].name]:
            if flow is path[0] and len(path) > 1:
                yield path
            elif (
                places[flow.name] > places[path[0].name]
                and flow not in path
                and not any(flow.reverse_of == one.name or one.reverse_of == flow.name for one in path)
            ):
                stack.append((*path, flow))


def _round_trip(ring: Sequence[FlowSpec]) -> list[str] | None:
    """Return a topic's names on its way round a ring if two rounds give it a new name each; None if no topic does that.

    Only names that can be constructed are tried: a pattern's text without its wildcards, and what flows make of it.
    """
    given = [name for flow in ring for pattern in flow.topics.include for name in samples(pattern)]
    for name in dict.fromkeys((*given, _ANY_NAME)):
        names = [name]
        for flow in (*ring, *ring):
            new = name_on_target(flow.rename, names[-1]) if matches(flow.topics, names[-1]) else None
            if new is None or not legal_topic_name(new):
                break
            names.append(new)
        else:
            if len({names[0], names[len(ring)], names[-1]}) == len((0, 1, 2)):
                return names[: len(ring) + 1]
    return None


def _exclude_that_ends(ring: Sequence[FlowSpec], names: Sequence[str]) -> str:
    """Return what to exclude from the first flow of a ring, so that nothing goes round again."""
    first = ring[0]
    texts = []
    for before, after in reversed(list(pairwise(names))):
        if after != before and after.endswith(before):
            texts.append(f"{after.removesuffix(before)}*")
        elif after != before and after.startswith(before):
            texts.append(f"*{after.removeprefix(before)}")
    for text in texts:
        without = Selection(first.topics.include, (*first.topics.exclude, Pattern(PatternKind.GLOB, text)))
        if _round_trip((replace(first, topics=without), *ring[1:])) is None:
            return f'exclude: ["{text}"]'
    return f"an exclude of what flow '{ring[-1].name}' makes there (for example {names[-1]!r})"
