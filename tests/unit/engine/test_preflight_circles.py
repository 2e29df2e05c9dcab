"""What `validate --connect` says of a source whose `replicator.state` it may not read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicator.engine.preflight import mirrors
from replicator.model.operations.report import Level
from tests.unit.engine.test_chosen import FLOW, Side


class _Closed(Side):
    """A cluster that does not show its state topic."""

    async def refresh(self, topics: Any) -> dict[str, int]:
        """Refuse."""
        return dict.fromkeys(topics or (), 29)


@pytest.mark.parametrize(("told", "levels"), [(False, [Level.WARN]), (True, [])])
async def test_a_state_topic_that_may_not_be_described_is_no_absent_one(*, told: bool, levels: list[Level]) -> None:
    """Circles cannot be told then: it is said with the rights to grant, once, also where no topic stands there yet."""
    source = _Closed("east")
    flow: Any = SimpleNamespace(spec=FLOW, source=SimpleNamespace(cluster=source), checks=[], copies_unknown=told)
    await mirrors._circles(flow, [])
    assert [check.level for check in flow.checks] == levels
    assert all("--operation Read --operation Describe --topic replicator.state" in one.fix for one in flow.checks)
