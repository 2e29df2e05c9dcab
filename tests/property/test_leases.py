"""Leases under any order of events: daemons that die, freeze, lose the coordinator or the target, stores put back.

Whatever happens, a lease under which somebody begins is newer than all before (`World.note`), and once everything works
again each shard is worked on by exactly one daemon, and all have about as many.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.lease_world import TTL, Daemon, World, run

_DAEMONS_MAX = 4
_CALM_SECONDS = 12 * TTL


class Leases(RuleBasedStateMachine):
    """Daemons and coordinators; clocks run up to a tenth too fast or too slow."""

    world: World
    started: int
    backup: dict[str, Any]
    was_put_back: bool

    @initialize(shards=st.integers(1, 5), stops=st.booleans())
    def begin(self, shards: int, stops: bool) -> None:  # noqa: FBT001 - drawn, not passed
        """Start with nobody."""
        self.world = World(shards=shards)
        self.coordinators = [self.world.coordinator(), self.world.coordinator(rate=1.1, start=1e5)]
        self.stops = stops
        self.started = 0
        self.backup = {}
        self.was_put_back = False

    @precondition(lambda self: len(self.world.daemons) < _DAEMONS_MAX)
    @rule(rate=st.sampled_from([0.9, 1.0, 1.1]), which=st.integers(0, 1))
    def start(self, rate: float, which: int) -> None:
        """Start a daemon."""
        self.started += 1
        self.world.daemon(
            f"d{self.started}",
            self.coordinators[which],
            rate=rate,
            start=self.started * 1000.0,
            stops_on_loss=self.stops,
        )

    @rule(seconds=st.sampled_from([1, 3, 8, 12]))
    def time(self, seconds: int) -> None:
        """Let time pass."""
        self.world.pass_time(seconds)

    @precondition(lambda self: self.world.daemons)
    @rule(data=st.data(), what=st.sampled_from(["kill", "freeze", "deafen", "mute", "cut", "mend", "leave", "switch"]))
    def harm(self, data: st.DataObject, what: str) -> None:
        """Do something to a daemon, or mend it."""
        daemon = data.draw(st.sampled_from(self.world.daemons))
        match what:
            case "kill":
                self.world.kill(daemon)
            case "freeze":
                daemon.frozen = True
            case "deafen":
                daemon.wire.loses_answers = True
            case "mute":
                daemon.wire.loses_requests = True
            case "cut":
                daemon.view.cut_off = True
            case "leave":
                self._leave(daemon)
            case "switch":
                daemon.wire.coordinator = data.draw(st.sampled_from(self.coordinators))
            case _:
                _mend(daemon)

    def _leave(self, daemon: Daemon) -> None:
        if daemon.frozen or daemon.wire.loses_requests or daemon.wire.loses_answers or daemon.view.cut_off:
            return
        run(daemon.leases.hand_off())
        self.world.pass_time(2)
        for shard in daemon.shards.shards:
            run(daemon.shards.stop(shard))
        run(daemon.leases.leave())
        self.world.kill(daemon)

    @rule()
    def restart_coordinators(self) -> None:
        """Let them forget whom they have seen."""
        fresh = [self.world.coordinator(rate=0.9), self.world.coordinator()]
        for daemon in self.world.daemons:
            daemon.wire.coordinator = fresh[self.coordinators.index(daemon.wire.coordinator)]
        self.coordinators = fresh

    @rule()
    def keep_copy(self) -> None:
        """Copy the store."""
        self.backup = self.world.backup()

    @rule()
    def put_back(self) -> None:
        """Put the copy back."""
        self.world.restore(self.backup)
        self.was_put_back = True

    @invariant()
    def one_valid_lease(self) -> None:
        """No two daemons believe that the newest lease of a shard is theirs, and that it has not ended."""
        for shard in range(self.world.shards):
            believers: dict[int, list[str]] = {}
            for daemon in self.world.daemons:
                epoch = daemon.leases.epoch(shard)
                if epoch and not daemon.leases.is_expired(shard) and not daemon.leases.is_taken_away(shard):
                    believers.setdefault(epoch, []).append(daemon.name)
            newest = max(believers, default=0)
            # A store that was put back may grant one epoch twice, and so may two daemons without a coordinator.
            if not self.was_put_back and self.stops:
                assert len(believers.get(newest, [])) <= 1, believers

    def teardown(self) -> None:
        """Mend everything: then each shard has one daemon, and the load is even."""
        if not hasattr(self, "world"):
            return
        for daemon in self.world.daemons:
            _mend(daemon)
        self.world.pass_time(_CALM_SECONDS)
        if not self.world.daemons:
            return
        assert all(len(self.world.working(shard)) == 1 for shard in range(self.world.shards)), [
            self.world.working(shard) for shard in range(self.world.shards)
        ]
        loads = [len(daemon.works) for daemon in self.world.daemons]
        assert max(loads) - min(loads) <= 1, loads


def _mend(daemon: Daemon) -> None:
    daemon.frozen = False
    daemon.wire.loses_answers = daemon.wire.loses_requests = daemon.view.cut_off = False


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=50, stateful_step_count=25, deadline=None, derandomize=True)


class MoreLeases(Leases):
    """The same, other histories each time."""


TestMoreLeases = pytest.mark.long(pytest.mark.timeout(900)(MoreLeases.TestCase))
TestMoreLeases.settings = settings(max_examples=3000, stateful_step_count=30, deadline=None)
