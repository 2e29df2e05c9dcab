"""Which topics a flow copies, and what of a pattern it leaves out: rings of flows end, chains go on."""

from __future__ import annotations

from collections import defaultdict
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.topics.choice import Choice, Origin, RecordedCopy, asks_for_origins, choose, trail_of
from replicator.core.topics.selection import target_name
from replicator.model.spec import FlowSpec, LoopGuard, Pattern, PatternKind, Rename, Selection

EVERYTHING = Pattern(PatternKind.GLOB, "*")
FROM_WEST = RecordedCopy("west-to-east", (Origin("WEST", "t"),))
FROM_SOUTH = RecordedCopy("south-to-east", (Origin("SOUTH", "t"),))


def flow(*include: str, prefix: str = "a.", guard: LoopGuard = LoopGuard.NONE) -> FlowSpec:
    """Return a flow from east to west."""
    patterns = tuple(Pattern(PatternKind.GLOB, text) for text in include or ("*",))
    return FlowSpec("f", "east", "west", Selection(patterns), Rename(prefix=prefix), loop_guard=guard)


def chosen(spec: FlowSpec, made: dict[str, list[RecordedCopy]], *more: str) -> Choice:
    """Return what a flow to the cluster WEST copies."""
    return choose(spec, "WEST", [*made, *more], made)


def test_what_a_pattern_leaves_out_is_named_with_its_reason() -> None:
    """Nothing is left out in silence."""
    names = ["mm2-configs", "heartbeats", "a.internal", "orders-internal", "x.replica", "orders", "orders.dead-letter"]
    found = chosen(flow(), {}, *names, "__consumer_offsets", "replicator.state")
    assert found.selected == ("orders", "orders.dead-letter")
    assert sorted(found.left_out) == sorted(names[:5])
    assert "internal topic of MirrorMaker" in found.left_out["heartbeats"]


def test_a_full_name_always_selects_but_for_reserved_topics() -> None:
    """Also what no pattern matches, and a copy of the target's own topic."""
    names = ("heartbeats", "orders-internal", "b.t", "__consumer_offsets", "replicator.state")
    found = chosen(flow(*names, "*"), {"b.t": [FROM_WEST]}, "heartbeats", "orders-internal", "__consumer_offsets")
    assert found == Choice(("b.t", "heartbeats", "orders-internal"))


def test_an_exclude_leaves_nothing_to_tell() -> None:
    """Whoever wrote it knows."""
    spec = flow()
    excluding = Selection(spec.topics.include, (Pattern(PatternKind.PREFIX, "b."),))
    found = chosen(FlowSpec("f", "east", "west", excluding), {"b.t": [FROM_WEST]}, "t")
    assert found == Choice(("t",))


def test_a_copy_from_the_target_is_left_out_over_however_many_clusters() -> None:
    """A copy from elsewhere is copied on."""
    round_about = RecordedCopy("south-to-east", (Origin("SOUTH", "b.t"), Origin("WEST", "t")))
    found = chosen(flow(), {"b.t": [FROM_WEST], "c.t": [FROM_SOUTH], "c.b.t": [round_about]}, "t")
    assert found.selected == ("c.t", "t")
    assert "west-to-east" in found.left_out["b.t"]
    assert "t of west" in found.left_out["c.b.t"]


def test_an_unknown_target_leaves_no_copy_out() -> None:
    """As where one side alone is verified."""
    assert choose(flow(), None, ["b.t"], {"b.t": [FROM_WEST]}).selected == ("b.t",)


def test_a_topic_that_is_about_to_be_created_waits() -> None:
    """Whose copy it is becomes known with the record of the mirror."""
    found = chosen(flow(), {"b.t": [RecordedCopy("west-to-east", begun=False)]})
    assert "about to be created" in found.left_out["b.t"]


def test_records_that_were_set_aside_are_left_out() -> None:
    """By what is recorded, not by the name."""
    found = chosen(flow(), {"t.dead-letter": [RecordedCopy("west-to-east")]}, "orders.dead-letter")
    assert found.selected == ("orders.dead-letter",)
    assert "set aside" in found.left_out["t.dead-letter"]


@pytest.mark.parametrize("guard", list(LoopGuard))
@pytest.mark.parametrize(("prefix", "selected"), [("", ("t",)), ("a.", ())])
def test_back_to_the_very_topic_is_no_new_one(prefix: str, selected: tuple[str, ...], guard: LoopGuard) -> None:
    """Where both sides write, records are told apart; else the sync refuses it: `from` and `to` may be swapped."""
    assert chosen(flow(prefix=prefix, guard=guard), {"t": [FROM_WEST]}).selected == selected


def test_only_patterns_ask_what_is_a_copy() -> None:
    """A flow that names each topic needs no further right on its source."""
    assert not asks_for_origins(flow("orders", "billing"))
    assert asks_for_origins(flow("orders", "billing*"))


_CLUSTERS = ("A", "B", "C")
_PAIRS = list(permutations(_CLUSTERS, 2))


@given(
    st.lists(st.tuples(st.sampled_from(_PAIRS), st.sampled_from(["", "x.", "y."])), min_size=1, max_size=8),
    st.sampled_from(LoopGuard),
)
def test_any_set_of_flows_comes_to_rest(links: list[tuple[tuple[str, str], str]], guard: LoopGuard) -> None:
    """Whatever flows there are between three clusters, all with `include: ["*"]`: no topic is made for ever."""
    flows = [
        FlowSpec(str(number), source, target, Selection((EVERYTHING,)), Rename(prefix=prefix), loop_guard=guard)
        for number, ((source, target), prefix) in enumerate(links)
    ]
    topics: dict[str, set[str]] = {cluster: {f"t{cluster}"} for cluster in _CLUSTERS}
    made: dict[str, dict[str, list[RecordedCopy]]] = {cluster: defaultdict(list) for cluster in _CLUSTERS}
    for _ in range(12):
        before = {cluster: len(names) for cluster, names in topics.items()}
        for one in flows:
            for name in choose(one, one.target, set(topics[one.source]), made[one.source]).selected:
                new = target_name(one.rename, name)
                if new in topics[one.target] and not made[one.target][new]:
                    continue  # it was there before, and is no mirror
                trail = trail_of(one.source, name, made[one.source][name])
                kept = [each for each in made[one.target][new] if each.flow != one.name]
                made[one.target][new] = [*kept, RecordedCopy(one.name, trail)]
                topics[one.target].add(new)
        if before == {cluster: len(names) for cluster, names in topics.items()}:
            break
    else:
        pytest.fail(f"still growing: {topics}")
    for one in flows:
        assert f"{one.rename.prefix}t{one.source}" in topics[one.target], "what is no copy is always copied"
