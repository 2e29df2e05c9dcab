"""Every test here needs real clusters; their fixtures are those of `tests.clusters`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clusters import MakeCluster

__all__ = ["MakeCluster"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this directory `kafka`."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.kafka)
