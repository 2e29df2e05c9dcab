"""Topics are announced on the target before they are created, and until they are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicator.engine.state import records as state
from replicator.engine.state.ownership.ours import Ownership
from replicator.engine.state.ownership.provenance import digest_of, unpacked
from replicator.engine.topics import chosen as chosen_module
from replicator.engine.topics.target import TargetTopics
from replicator.errors import BrokerRefused, KafkaError
from tests.unit.engine.test_chosen import UID, Log, Side, Told, sync

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.wire.topology import Topic


async def test_what_a_killed_daemon_announced_is_taken_back_by_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed when the topic was created, and not recorded yet."""
    log, source, target = Log(), Side("east"), Side("west")
    Told(monkeypatch)
    source.add("t")
    killed, _ = sync(log, source, target)

    async def die() -> None:
        raise BrokerRefused("killed", cluster="west", code=0, api="")

    monkeypatch.setattr(killed.records, "write", die)
    with pytest.raises(BrokerRefused):
        await killed.run_pass(configs=True)
    assert unpacked(state.get_making(log.records, UID)) == {digest_of("t")}

    async def nothing_written(
        _found: object, _topics: Iterable[Topic]
    ) -> tuple[dict[str, tuple[int, int]], dict[str, KafkaError]]:
        return {}, {}

    monkeypatch.setattr(Ownership, "_written", nothing_written)
    topics, _ = sync(log, source, target)
    await topics.run_pass(configs=True)
    assert topics.mirrors["t"].recorded
    assert state.get_making(log.records, UID) == b""


async def test_a_topic_that_waits_for_its_leaders_stays_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, and not recorded yet: a flow in the other direction would take it for an original."""
    log, source = Log(), Side("east")
    Told(monkeypatch)
    source.add("t")
    topics, _ = sync(log, source, Side("west"))

    async def no_leaders(_found: object, _name: str, _partitions: int) -> None:
        return None

    with monkeypatch.context() as slow:
        slow.setattr(TargetTopics, "await_leaders", no_leaders)
        await topics.run_pass(configs=True)
    assert unpacked(state.get_making(log.records, UID)) == {digest_of("t")}


async def test_an_announcement_that_nothing_followed_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its source topic was deleted before the target topic could be created: whoever makes one of that name is free."""
    log, source, target = Log(), Side("east"), Side("west")
    Told(monkeypatch)
    source.add("t", "u")
    first, _ = sync(log, source, target, busy=True)
    await first.run_pass(configs=True)
    assert unpacked(state.get_making(log.records, UID)) == {digest_of("t"), digest_of("u")}
    del source.topics["t"]
    later, admin = sync(log, source, target, busy=True)
    await later.run_pass(configs=True)
    assert unpacked(state.get_making(log.records, UID)) == {digest_of("t"), digest_of("u")}, "another may be about to"
    monkeypatch.setattr(chosen_module, "_LEFT_SECONDS", 0.0)
    await later.run_pass(configs=False)
    assert unpacked(state.get_making(log.records, UID)) == {digest_of("u")}, "this one is still tried"

    source.add("t")
    admin.busy = False
    await first.run_pass(configs=True)  # it announced t before, and that was taken back: it is announced anew
    await later.run_pass(configs=True)
    assert set(target.topics) == {"t", "u"}
    assert state.get_making(log.records, UID) == b""


async def test_a_topic_that_brokers_still_tell_of_is_not_the_one_that_is_created(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its id would be recorded as ours: one broker is behind the deletion."""
    log, source, target = Log(), Side("east"), Side("west")
    Told(monkeypatch)
    source.add("t")
    target.shown = {"t": frozenset({b"old" * 5 + b"!"}), "other": frozenset({b"x" * 16})}
    topics, admin = sync(log, source, target)
    await topics.run_pass(configs=True)
    assert admin.before == {"t": target.shown["t"]}
