"""The least rights of a flow, from its selection to the command that grants them."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.acl.commands import acl_command, missing_right
from replicator.core.acl.granted_names import EVERY, Names, mirror_names, selected_names, wider_than_selection
from replicator.core.acl.rights import (
    NOT_NEEDED,
    Grant,
    Operation,
    ResourceKind,
    lacking,
    on_cluster,
    on_group,
    on_topic,
    operations_of,
    principal,
    source_rights,
    target_rights,
)
from replicator.core.topics.selection import matches, target_name
from replicator.model.security import ClusterSpec, Mechanism, Protocol, Security
from replicator.model.spec import FlowSpec, GroupSync, LoopGuard, Pattern, PatternKind, Rename, Selection

GLOB, PREFIX, REGEX = PatternKind.GLOB, PatternKind.PREFIX, PatternKind.REGEX


def cluster_of(user: str, *bootstrap: tuple[str, int]) -> ClusterSpec:
    """Return a cluster that sees us as that user."""
    security = Security(Protocol.SASL_PLAINTEXT, Mechanism.PLAIN, username=user)
    return ClusterSpec("west", bootstrap or (("b", 1),), security=security)


def select(*include: tuple[PatternKind, str], exclude: tuple[Pattern, ...] = ()) -> Selection:
    """Return a selection of these patterns."""
    return Selection(tuple(Pattern(kind, text) for kind, text in include), exclude)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (GLOB, "orders", Names("orders")),
        (GLOB, "orders.*", Names("orders.", prefixed=True)),
        (GLOB, "a?b", Names("a", prefixed=True)),
        (GLOB, "x[12]", Names("x", prefixed=True)),
        (GLOB, "*", EVERY),
        (GLOB, "*.tmp", EVERY),
        (PREFIX, "billing-", Names("billing-", prefixed=True)),
        (REGEX, r"audit-\d+", Names("audit-", prefixed=True)),
        (REGEX, r"^a\.b$", Names("a.b")),
        (REGEX, "ab?c", Names("a", prefixed=True)),
        (REGEX, "ab+", Names("ab", prefixed=True)),
        (REGEX, "ab{0,2}", Names("a", prefixed=True)),
        (REGEX, "a|b", EVERY),
        (REGEX, "(?i)orders", EVERY),
        (REGEX, ".*", EVERY),
    ],
)
def test_a_pattern_becomes_the_narrowest_name_an_acl_can_say(kind: PatternKind, text: str, expected: Names) -> None:
    """Full name, prefix, or everything."""
    assert selected_names(select((kind, text))) == (expected,)


def test_a_wider_name_replaces_those_it_covers() -> None:
    """One ACL less each."""
    narrow = select((GLOB, "orders.eu"), (PREFIX, "orders."), (GLOB, "users"))
    assert selected_names(narrow) == (Names("orders.", prefixed=True), Names("users"))
    assert selected_names(select((GLOB, "orders"), (GLOB, "*"))) == (EVERY,)


_text = st.text(alphabet="ab.-", min_size=1, max_size=5)
_pattern = st.one_of(
    st.tuples(st.just(GLOB), st.text(alphabet="ab.-*?", min_size=1, max_size=5)),
    st.tuples(st.just(PREFIX), _text),
    st.tuples(st.just(REGEX), st.sampled_from([r"a\.b", "ab?", "a+b*", "a|b", "(a|b).*", "a{0,1}b", ".b", "[ab]a"])),
)
_rename = st.one_of(
    st.just(Rename()),
    st.builds(Rename, prefix=_text),
    st.builds(Rename, regex=st.sampled_from(["^(.*)$", "(a)(.*)", "b(.*)"]), to=st.sampled_from([r"x.\1", r"\1.x"])),
)


@given(st.lists(_pattern, min_size=1, max_size=4), _rename, _text)
def test_every_selected_topic_is_covered_on_both_sides(
    patterns: list[tuple[PatternKind, str]], rename: Rename, name: str
) -> None:
    """Whatever the flow copies, it may read there and write here."""
    selection = select(*patterns)
    if not matches(selection, name):
        return
    here = Names(target_name(rename, name))
    assert any(names.covers(Names(name)) for names in selected_names(selection))
    assert any(names.covers(here) for names in mirror_names(selection, rename))


@pytest.mark.parametrize(
    ("rename", "pattern", "expected"),
    [
        (Rename(prefix="east."), "*", (Names("east.", prefixed=True),)),
        (Rename(prefix="east."), "orders", (Names("east.orders"),)),
        (Rename(prefix="east."), "orders.*", (Names("east.orders.", prefixed=True),)),
        (Rename(regex="^(.*)$", to=r"dr.\1"), "*", (Names("dr.", prefixed=True),)),
        (Rename(regex="a(.*)", to=r"dr.\1"), "o*", (Names("dr.", prefixed=True), Names("o", prefixed=True))),
        (Rename(regex="a(.*)", to=r"dr.\1"), "ab", (Names("dr.b"),)),
        (Rename(regex="(.*)", to=r"\1.dr"), "*", (EVERY,)),
    ],
)
def test_mirrors_are_named_as_the_rename_says(rename: Rename, pattern: str, expected: tuple[Names, ...]) -> None:
    """The target's rights follow the target's names."""
    assert mirror_names(select((GLOB, pattern)), rename) == expected


def test_rights_that_reach_further_than_the_selection_are_known() -> None:
    """The operator is told."""
    assert not wider_than_selection(select((GLOB, "orders.*"), (GLOB, "a"), (PREFIX, "b"), (REGEX, r"a\.b")))
    assert wider_than_selection(select((GLOB, "*"), exclude=(Pattern(GLOB, "tmp"),)))
    assert wider_than_selection(select((GLOB, "a*b")))
    assert wider_than_selection(select((REGEX, r"audit-\d+")))


def flow(**fields: object) -> FlowSpec:
    """Return a flow of orders.*."""
    return FlowSpec("f", "east", "west", select((GLOB, "orders.*")), **fields)  # type: ignore[arg-type]


def test_the_source_is_only_read() -> None:
    """No operation that changes anything but rules, which a switchover needs where applications have some."""
    grants = source_rights(flow())
    (closing,) = [grant for grant in grants if Operation.ALTER in grant.operations]
    assert (closing.kind, closing.operations) == (ResourceKind.CLUSTER, (Operation.ALTER,))
    assert "may be left out" in closing.why
    operations = {operation for grant in grants if grant is not closing for operation in grant.operations}
    assert operations == {Operation.READ, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS}
    both_ways = source_rights(flow(loop_guard=LoopGuard.ORIGIN))
    assert not any(Operation.ALTER in grant.operations for grant in both_ways), "it is never closed"


def test_whose_records_the_source_holds_is_read_there() -> None:
    """Only where that matters."""
    there = {grant.names: grant.operations for grant in source_rights(flow(loop_guard=LoopGuard.ORIGIN))}
    assert there[Names("replicator.state")] == (Operation.READ, Operation.DESCRIBE)
    by_name = Selection((Pattern(PatternKind.GLOB, "orders"),))
    assert Names("replicator.state") not in {grant.names for grant in source_rights(replace(flow(), topics=by_name))}


def test_a_pattern_asks_which_topics_of_the_source_are_copies() -> None:
    """It may be left out where no flow writes there, and the grant says so."""
    grants = [grant for grant in source_rights(flow()) if grant.names == Names("replicator.state")]
    assert [grant.operations for grant in grants] == [(Operation.READ, Operation.DESCRIBE)]
    assert "may be left out" in grants[0].why


def test_where_others_write_nothing_is_deleted_filled_or_configured() -> None:
    """So none of these rights is asked for."""
    granted = {each for grant in target_rights(flow(loop_guard=LoopGuard.ORIGIN)) for each in grant.operations}
    assert not granted & {Operation.DELETE, Operation.CLUSTER_ACTION, Operation.ALTER_CONFIGS}
    assert {Operation.ALTER, Operation.CREATE} <= granted


def test_deleting_is_granted_on_mirrors_alone_and_by_itself() -> None:
    """So that it can be left out where no log starts above 0."""
    grants = [grant for grant in target_rights(flow()) if Operation.DELETE in grant.operations]
    assert [(grant.names, grant.operations) for grant in grants] == [
        (Names("orders.", prefixed=True), (Operation.DELETE,))
    ]


def test_topics_beside_a_mirror_are_granted_where_no_prefix_covers_them() -> None:
    """A failback exports to them, and so does `resolve --how skip`."""
    by_name = replace(flow(), topics=Selection((Pattern(PatternKind.GLOB, "orders"),)))
    beside = [grant.names for grant in target_rights(by_name) if "may be left out until then" in grant.why]
    assert beside == [Names("orders.divergent.", prefixed=True), Names("orders.dead-letter")]
    both_ways = [grant.names for grant in target_rights(replace(by_name, loop_guard=LoopGuard.ORIGIN))]
    assert Names("orders.dead-letter") in both_ways
    assert Names("orders.divergent.", prefixed=True) not in both_ways
    assert not any("may be left out until then" in grant.why for grant in target_rights(flow()))


def test_cluster_action_is_granted_by_itself_and_says_when_it_is_needed() -> None:
    """On the target alone; it is a broker's own right, and there is a way without it."""
    grants = [grant for grant in target_rights(flow()) if Operation.CLUSTER_ACTION in grant.operations]
    assert [(grant.kind, grant.operations) for grant in grants] == [(ResourceKind.CLUSTER, (Operation.CLUSTER_ACTION,))]
    assert "only if the source has transactions or compacted topics" in grants[0].why
    assert "about 30 a second" in grants[0].why


def granted_on_groups(spec: FlowSpec) -> list[list[Grant]]:
    """Return what is granted on groups of the source, and of the target."""
    both = (source_rights(spec), target_rights(spec))
    return [[grant for grant in grants if grant.kind is ResourceKind.GROUP] for grants in both]


def test_groups_are_read_on_the_source_and_written_on_the_target() -> None:
    """Those that the flow means, in the narrowest words."""
    chosen = flow(group_sync=GroupSync(select((PREFIX, "app-"), (GLOB, "billing"))))
    names = [Names("app-", prefixed=True), Names("billing")]
    read, write = (Operation.DESCRIBE,), (Operation.DESCRIBE, Operation.READ)

    for spec, meant in ((flow(), [EVERY]), (chosen, names)):
        there, here = granted_on_groups(spec)
        assert [(grant.names, grant.operations) for grant in there] == [(name, read) for name in meant]
        assert [(grant.names, grant.operations) for grant in here] == [(name, write) for name in meant]
        assert all("may be left out" in grant.why for grant in (*there, *here))


def test_where_no_group_follows_an_operator_may_still_ask_about_one() -> None:
    """To be described only, on both sides."""
    there, here = granted_on_groups(flow(group_sync=GroupSync(Selection(()))))

    assert [(grant.names, grant.operations) for grant in (*there, *here)] == [(EVERY, (Operation.DESCRIBE,))] * 2
    assert there[0].why.startswith("`offsets translate --group` only; may be left out")
    assert here[0].why.startswith("`offsets translate --group --reverse` only; may be left out")
    assert not any("Describe" in text for text in NOT_NEEDED)


def test_commands_are_ready_for_a_shell() -> None:
    """Every word is quoted where need be; the cluster has no name."""
    everything = Grant(ResourceKind.TOPIC, EVERY, (Operation.READ,))
    command = acl_command(everything, cluster_of("my repl", ("::1", 9092), ("b", 1)))
    assert "'User:my repl'" in command
    assert shlex.split(command)[-2:] == ["--topic", "*"]
    assert shlex.split(command)[2] == "[::1]:9092,b:1"
    prefixed = Grant(ResourceKind.TRANSACTIONAL_ID, Names("replicator.", prefixed=True), (Operation.WRITE,))
    assert acl_command(prefixed, cluster_of("r")).endswith(
        "--transactional-id replicator. --resource-pattern-type prefixed"
    )
    assert acl_command(on_cluster(Operation.DESCRIBE), cluster_of("r")).endswith("--operation Describe --cluster")


def test_a_missing_right_is_told_whole() -> None:
    """The right, the resource, the user where the file tells, and the command; never a stand-in as if it were known."""
    said = missing_right(cluster_of("repl"), on_topic("orders", Operation.WRITE), "NO")
    assert said == (
        "west does not allow Write on topic orders to User:repl (NO); next: kafka-acls.sh --bootstrap-server b:1 "
        "--add --allow-principal User:repl --operation Write --topic orders"
    )
    assert "on the cluster to" in missing_right(cluster_of("repl"), on_cluster(Operation.DESCRIBE), "NO")
    assert missing_right(cluster_of("repl"), on_group("a b", Operation.DESCRIBE), "NO") == (
        "west does not allow Describe on group a b to User:repl (NO); next: kafka-acls.sh --bootstrap-server b:1 "
        "--add --allow-principal User:repl --operation Describe --group 'a b'"
    )
    token = ClusterSpec("west", (("b", 1),), security=Security(Protocol.SASL_SSL, Mechanism.OAUTHBEARER))
    said = missing_right(token, on_topic("*", Operation.READ), "NO")
    assert said.startswith("west does not allow Read on topic * (NO); next: kafka-acls.sh ")
    assert said.endswith("--topic '*' # User:<subject of the token>: the token's `sub` claim, by default")


@pytest.mark.parametrize(
    ("security", "text", "known"),
    [
        (Security(Protocol.SASL_SSL, Mechanism.SCRAM_SHA_512, username="repl"), "User:repl", True),
        (Security(Protocol.SASL_SSL, Mechanism.OAUTHBEARER), "User:<subject of the token>", False),
        (Security(Protocol.SSL, cert_file=Path("/x/repl.pem")), "User:<subject of repl.pem>", False),
        (Security(Protocol.SSL), "User:ANONYMOUS", True),
        (Security(), "User:ANONYMOUS", True),
    ],
)
def test_the_principal_is_what_the_file_tells(security: Security, text: str, known: bool) -> None:  # noqa: FBT001
    """A name where there is one; else who can tell."""
    found = principal(security)
    assert (found.text, found.known) == (text, known)
    assert found.known or found.note


def test_operations_are_read_from_the_bit_field() -> None:
    """Kafka's AclOperation codes; the smallest number means that it was not told."""
    assert operations_of(1 << 3 | 1 << 8) == frozenset({Operation.READ, Operation.DESCRIBE})
    assert operations_of(0) == frozenset()
    assert operations_of(-(1 << 31)) is None


def test_what_is_lacking_is_named_only_where_it_is_known() -> None:
    """Unknown is no refusal."""
    needed = (Operation.READ, Operation.DESCRIBE)
    assert lacking(needed, frozenset({Operation.READ})) == (Operation.DESCRIBE,)
    assert lacking(needed, None) == ()


def test_every_operation_of_the_docstring_is_granted() -> None:
    """The table at the top of the module and the grants name the same operations."""
    from replicator.core.acl import rights  # noqa: PLC0415 - its docstring is what is tested

    table = set(
        re.findall(
            r"(?:READ|WRITE|CREATE|ALTER_CONFIGS|ALTER|DELETE|DESCRIBE_CONFIGS|DESCRIBE|CLUSTER_ACTION)(?= \w)",
            str(rights.__doc__).split("IDEMPOTENT")[0],
        )
    )
    granted = {o.name for grant in (*source_rights(flow()), *target_rights(flow())) for o in grant.operations}
    assert table == granted
