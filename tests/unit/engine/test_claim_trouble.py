"""A claim that cannot be worked: shown while it is so, logged once, tried less often once it has ended."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from replicator.core.work.claim import Timing
from replicator.engine.work import claim as claim_keeper
from replicator.engine.work.claim import ClaimKeeper
from replicator.engine.work.shards import Shard, Shards
from replicator.errors import ReplicatorError
from replicator.model.names import STATE_TOPIC
from replicator.model.security import ClusterSpec
from replicator.wire.protocol.faults import broker_error
from tests.lease_world import Topic, View

if TYPE_CHECKING:
    import pytest

    from replicator.engine.state.topic.log import StateLog

WEST = ClusterSpec("west", (("w", 9092),))
_TIMING = Timing(0.04, 0.02)
DENIED = broker_error(WEST, "Produce", 29, STATE_TOPIC)


class Denying(View):
    """A view of a state topic that may not be written to."""

    def __init__(self) -> None:
        super().__init__(Topic())
        self.denies: ReplicatorError | None = DENIED
        self.tried = 0
        self.five_more = asyncio.Event()

    def _reach(self) -> None:
        self.tried += 1
        if self.tried % 5 == 0:
            self.five_more.set()
        if self.denies is not None:
            raise self.denies


async def test_a_claim_that_may_not_be_written_is_told_once_and_shown_until_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the right, the user and the command; two reasons that take turns are not told at each try."""
    told: list[tuple[str, dict[str, Any]]] = []

    def note(event: str, **fields: Any) -> None:
        told.append((event, fields))

    monkeypatch.setattr(claim_keeper, "log", SimpleNamespace(info=note, warning=note, debug=note))
    monkeypatch.setattr(claim_keeper, "_PAUSE_SECONDS_MAX", 0.01)
    view = Denying()
    now = asyncio.get_running_loop().time
    keeper = ClaimKeeper(cast("StateLog", view), "uid", 0, "me", _TIMING, 0.0, now=now)
    shard = Shard(0, keeper)
    shards = Shards.__new__(Shards)
    shards.shards, shards._leases = [shard], None
    keeper.want(1)
    task = asyncio.create_task(keeper.run())

    for _ in range(3):
        view.five_more.clear()
        await view.five_more.wait()
        view.denies = ReplicatorError("something else") if view.denies is DENIED else DENIED
    view.denies = DENIED
    view.five_more.clear()
    await view.five_more.wait()
    assert [event for event, _ in told] == ["claim not worked"]
    (problem,) = shards.problems()
    assert problem == (
        "west does not allow Write on topic replicator.state to User:ANONYMOUS (TOPIC_AUTHORIZATION_FAILED); "
        "next: kafka-acls.sh --bootstrap-server w:9092 --add --allow-principal User:ANONYMOUS --operation Write "
        "--topic replicator.state"
    )

    view.denies = None
    while keeper.problem is not None:  # noqa: ASYNC110 - its next try tells
        await asyncio.sleep(0.001)
    assert [event for event, _ in told] == ["claim not worked", "claim taken", "claim worked again"]
    assert shards.problems() == []
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
