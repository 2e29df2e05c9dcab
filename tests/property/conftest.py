"""What every history runs with: blocks of offset maps that a short history can fill, and no log lines about them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from replicator.core.offsets import offset_map
from replicator.engine.copy.partitions import live_maps as maps


@pytest.fixture(autouse=True, scope="session")
def small_blocks() -> Iterator[None]:
    """Two runs to a block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offset_map, "RUNS_PER_BLOCK", 2)
        patch.setattr(maps.log, "warning", lambda *_, **__: None)
        yield
