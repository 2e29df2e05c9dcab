"""Two real daemons against a model of both clusters and of all between them: nothing lost, doubled or moved."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from replicator.model.spec import Offsets
from tests.copy_world.events import EVENTS, MORE, MORE_EVENTS, RARE, USUAL
from tests.copy_world.histories import calm, run_history
from tests.copy_world.home import at_home
from tests.copy_world.steps import begin
from tests.copy_world.world import World

_SHORT = range(15)
_LONG = range(100_000, 105_000)


class TwoDaemons(RuleBasedStateMachine):
    """Hypothesis chooses the events, and shrinks what goes wrong to its shortest form."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self._home = contextlib.ExitStack()
        self._home.enter_context(at_home(self.world, 0))

    @initialize(
        one_at_a_time=st.booleans(),
        daemons=st.integers(1, 2),
        rare=st.sampled_from((None, *RARE)),
        offsets=st.sampled_from(Offsets),
    )
    def begin(self, one_at_a_time: bool, daemons: int, rare: str | None, offsets: Offsets) -> None:  # noqa: FBT001 - drawn by name
        """Choose the world. Events that end most copies come in some worlds only, and there one kind."""
        self.world.one_at_a_time = one_at_a_time
        self.world.offsets = offsets
        self.rare = rare
        for _ in range(daemons):
            begin(self.world)

    @rule(name=st.sampled_from(USUAL), picks=st.lists(st.integers(0, 11)))
    def event(self, name: str, picks: list[int]) -> None:
        """Let anything usual happen."""
        self._happen(name, picks)

    @rule(
        name=st.sampled_from(["append_fresh", "append_old", "work", "serve", "work", "serve", "expire"]),
        picks=st.lists(st.integers(0, 11)),
    )
    def progress(self, name: str, picks: list[int]) -> None:
        """Let the copy go on: without this, most histories would end where they began."""
        self._happen(name, picks)

    @rule(name=st.sampled_from(MORE_EVENTS), picks=st.lists(st.integers(0, 11)))
    def where_offsets_differ(self, name: str, picks: list[int]) -> None:
        """Let happen what only happens, or does harm, where offsets need not be the source's."""
        if name in MORE[self.world.offsets]:
            self._happen(name, picks)

    @rule(picks=st.lists(st.integers(0, 11)))
    def rare_event(self, picks: list[int]) -> None:
        """Let the one rare thing of this world happen."""
        if self.rare is not None:
            self._happen(self.rare, picks)

    def _happen(self, name: str, picks: list[int]) -> None:
        left = iter(picks)
        EVENTS[name][1](self.world, lambda below: next(left, 0) % below)

    @invariant()
    def the_target_is_a_copy(self) -> None:
        """The target is a prefix of a history of the source, and every stop has a cause."""
        self.world.check()

    def teardown(self) -> None:
        """Once the faults stop, both sides become equal, or a stop says why not."""
        with self._home:
            calm(self.world)
            for daemon in list(self.world.daemons):
                self.world.kill_daemon(daemon)


TestTwoDaemons = TwoDaemons.TestCase
TestTwoDaemons.settings = settings(
    max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


KINDS = [(offsets, backlog) for offsets in Offsets for backlog in (False, True)]
IDS = [f"{offsets}, {'old record times' if backlog else 'all kinds'}" for offsets, backlog in KINDS]


@pytest.mark.parametrize(("offsets", "backlog"), KINDS, ids=IDS)
def test_seeded_histories_keep_the_copy_exact(*, offsets: Offsets, backlog: bool) -> None:
    """Invariant after every event, equality after every storm."""
    for seed in _SHORT:
        run_history(seed, backlog=backlog, offsets=offsets)


@pytest.mark.parametrize("offsets", Offsets)
def test_seeded_histories_with_spoiled_answers_keep_the_copy_exact(offsets: Offsets) -> None:
    """The same where batches claim what is not so, and answers come for partitions that began anew meanwhile."""
    for seed in _SHORT:
        run_history(seed, offsets=offsets, doubtful=True)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("offsets", Offsets)
def test_many_seeded_histories_with_spoiled_answers_keep_the_copy_exact(offsets: Offsets) -> None:
    """The same, many more and longer."""
    for seed in _LONG:
        run_history(seed, steps=150, offsets=offsets, doubtful=True)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("offsets", "backlog"), KINDS, ids=IDS)
def test_many_seeded_histories_keep_the_copy_exact(*, offsets: Offsets, backlog: bool) -> None:
    """The same, many more and longer."""
    for seed in _LONG:
        run_history(seed, steps=150, backlog=backlog, offsets=offsets)


def test_histories_copy_something() -> None:
    """A simulation in which little happens would prove little: records are copied and most kinds of stop occur."""
    copied = differences = stepped = 0
    reasons = set()
    for offsets in Offsets:
        for seed in _SHORT:
            world = run_history(seed, offsets=offsets)
            copied += len(world.current.copied())
            reasons |= world.reasons
            differences += world.mirror.map_generation
            stepped += len(world.current.given_up) + len(world.current.blocks())

    assert copied > 250
    assert len(reasons) >= 3
    assert differences > 5
    assert stepped > 2
