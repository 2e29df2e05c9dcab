"""What a reload changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from replicator.config.diff import Plan, diff
from replicator.model.security import ClusterSpec
from replicator.model.spec import (
    CoordinatorSpec,
    DaemonSpec,
    FlowSpec,
    Pattern,
    PatternKind,
    Selection,
    Spec,
    Start,
    Verification,
)

TOPICS = Selection((Pattern(PatternKind.GLOB, "*"),))
EAST, WEST, CLOUD = (ClusterSpec(alias, ((alias, 9092),)) for alias in ("east", "west", "cloud"))
ONE, TWO = FlowSpec("one", "east", "west", TOPICS), FlowSpec("two", "east", "cloud", TOPICS)
SPEC = Spec(Path("f.yaml"), DaemonSpec(Path("state")), CoordinatorSpec(), (EAST, WEST, CLOUD), (ONE, TWO))


def test_nothing() -> None:
    """The same file, also under another name, changes nothing."""
    plan = diff(SPEC, replace(SPEC, path=Path("g.yaml")))
    assert plan == Plan()
    assert plan.empty
    assert not plan.restart_needed


def test_flows() -> None:
    """Added, removed and changed are told apart."""
    three = replace(TWO, name="three")
    plan = diff(SPEC, replace(SPEC, flows=(replace(ONE, start=Start.LATEST), three)))
    assert plan == Plan(flows_added=("three",), flows_removed=("two",), flows_changed=("one",))


def test_verification_is_a_key_of_its_flow() -> None:
    """Turning it on starts the flow anew."""
    plan = diff(SPEC, replace(SPEC, flows=(ONE, replace(TWO, verify=Verification(continuous=True)))))
    assert plan == Plan(flows_changed=("two",))


def test_clusters() -> None:
    """A changed cluster affects the flows that use it; an added one nobody."""
    clusters = (EAST, replace(WEST, request_timeout_seconds=5), CLOUD, replace(WEST, alias="new"))
    plan = diff(SPEC, replace(SPEC, clusters=clusters))
    assert plan == Plan(clusters_changed=("west",), flows_affected=("one",))


def test_restart() -> None:
    """Keys that a running daemon cannot change are named as in the file."""
    daemon, coordinator = replace(SPEC.daemon, site="west"), CoordinatorSpec(lease_ttl_seconds=20)
    plan = diff(SPEC, replace(SPEC, daemon=daemon, coordinator=coordinator))
    assert plan.restart_because == ("daemon.site", "coordinator.lease_ttl")
    assert plan.restart_needed
    assert not plan.empty
