"""What is ours to change: the decision for topics of every shape, and that nobody makes the proofs elsewhere."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import replicator
from replicator.core.groups.sync import WrittenCommit
from replicator.core.topics.ownership import (
    NO_TOPIC_ID,
    Evidence,
    MirrorOnSource,
    OwnedTopic,
    OwnershipReason,
    given_up,
    probe_rule,
    proven,
    recorded,
    recorded_commits,
    recorded_rules,
)
from replicator.core.topics.plan import MirrorFault
from replicator.errors import BugError, Conflict
from replicator.model.acl import ALLOW, ANY_HOST, GROUP, LITERAL, TOPIC, Rule
from replicator.model.names import TopicPartition
from replicator.model.status.groups import Committed
from replicator.model.status.states import Reason

ONE, OTHER = bytes([1] * 16), bytes([2] * 16)
RULE = Rule(TOPIC, "orders", LITERAL, "User:app", ANY_HOST, "READ", ALLOW)
ORDERS = TopicPartition("orders", 0)


@pytest.mark.parametrize(
    ("evidence", "because"),
    [
        (Evidence("t", ONE, is_recorded=True, recorded_id=ONE), OwnershipReason.RECORDED),
        (
            Evidence("t", ONE, is_recorded=True, recorded_id=ONE, written=(0, 9), owner="other"),
            OwnershipReason.RECORDED,
        ),
        (Evidence("t", NO_TOPIC_ID, is_recorded=True, written=(0, 9)), OwnershipReason.RECORDED),
        (Evidence("t", ONE, is_recorded=True), OwnershipReason.RECORDED),
        (Evidence("t", ONE, is_recorded=True, written=(0, 9), ends_with_ours=True), OwnershipReason.RECORDED),
        (Evidence("t", ONE), OwnershipReason.NEVER_WRITTEN),
        (Evidence("t", ONE, written=(0, 9), shared=True), OwnershipReason.SHARED),
    ],
)
def test_what_is_ours(evidence: Evidence, because: OwnershipReason) -> None:
    """By its record, by never having held a record, or because the flow file says that both write to it."""
    proof = proven(evidence)
    assert isinstance(proof, OwnedTopic)
    assert (proof.name, proof.because) == ("t", because)
    assert proof.is_still(evidence.topic_id)


@pytest.mark.parametrize(
    ("evidence", "reason", "word"),
    [
        (Evidence("t", OTHER, is_recorded=True, recorded_id=ONE), Reason.TARGET_RECREATED, "created again"),
        (Evidence("t", ONE, written=(2, 9)), Reason.FOREIGN_WRITER, "partition 2 ends at 9"),
        (Evidence("t", ONE, is_recorded=True, written=(2, 9)), Reason.FOREIGN_WRITER, "without a topic id"),
        (Evidence("t", ONE, is_recorded=True, owner="e2w", ends_with_ours=True), Reason.OTHER_OWNER, "flow e2w"),
        (Evidence("t", ONE, owner="e2w"), Reason.OTHER_OWNER, "flow e2w"),
        (Evidence("t", ONE, source_of=MirrorOnSource("there", "w2e")), Reason.TARGET_TAKEN, "swapped"),
        (Evidence("t", ONE, source_of=MirrorOnSource("there", "w2e"), written=(0, 1)), Reason.TARGET_TAKEN, "swapped"),
    ],
)
def test_what_is_not_ours(evidence: Evidence, reason: Reason, word: str) -> None:
    """Each with its own reason; an empty topic is not ours where somebody else's record says so."""
    fault = proven(evidence)
    assert isinstance(fault, MirrorFault)
    assert fault.reason is reason
    assert word in fault.text


def test_a_proof_is_about_one_topic() -> None:
    """Not about whatever has its name later; where a cluster has no ids, the name is all there is."""
    assert not recorded("t", ONE).is_still(OTHER)
    assert not given_up("t", ONE).is_still(None)
    assert recorded("t", NO_TOPIC_ID).is_still(NO_TOPIC_ID)
    for before, now in ((NO_TOPIC_ID, OTHER), (ONE, NO_TOPIC_ID)):
        assert not recorded("t", before).is_still(now), "an id that is not known equals none"
        assert "id" in recorded("t", before).why_not(now)


def test_rules_and_commits_that_are_not_recorded_are_not_touched() -> None:
    """It would be a bug of ours to try."""
    assert recorded_rules([RULE], [RULE]).rules == (RULE,)
    with pytest.raises(BugError):
        recorded_rules([RULE], [])
    with pytest.raises(BugError):
        probe_rule(RULE, made_up="replicator.probe.1")
    probe = Rule(GROUP, "replicator.probe.1", LITERAL, "User:x", ANY_HOST, "DESCRIBE", ALLOW)
    assert probe_rule(probe, made_up="replicator.probe.1").rules == (probe,)
    commits = {ORDERS: Committed(7)}
    assert recorded_commits("g", commits, {ORDERS: WrittenCommit(7, None, 0)}).commits == commits
    for record in ({}, {ORDERS: WrittenCommit(6, None, 0)}):
        with pytest.raises(Conflict):
            recorded_commits("g", commits, record)


MAKERS = {
    "OwnedTopic": {"core/topics/ownership.py"},
    "OwnedRules": {"core/topics/ownership.py"},
    "OwnedCommits": {"core/topics/ownership.py"},
    "created": {"admin/topics.py"},
    "given_up": {"engine/topics/one_topic.py"},
    "holding_only_ours": {"engine/logs/dead_letter.py"},
    "made_up_commits": {"cli/demo/story.py"},
    "probe_rule": {"engine/topics/authorizer.py"},
}
"""Who makes or asks for a proof: one more is a decision, not an oversight."""


def test_nobody_makes_a_proof_elsewhere() -> None:
    """A type checker cannot keep others from calling a constructor; this does."""
    root = Path(replicator.__file__).parent
    found: dict[str, set[str]] = {name: set() for name in MAKERS}
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in found:
                found[name].add(path.relative_to(root).as_posix())
    assert found == MAKERS
