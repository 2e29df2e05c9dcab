"""What the tests of `control` share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.control.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One without rules."""
    (tmp_path / "state").mkdir()
    world = World(tmp_path / "state")
    yield world
    world.audit.close()
