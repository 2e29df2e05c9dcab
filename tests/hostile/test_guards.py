"""The list of guards follows the source: each text that is taken away stands where it is said to."""

from __future__ import annotations

import pytest

from tests.hostile.guard import Guard
from tests.hostile.guards import GUARDS, ROOT


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.lie)
def test_each_guard_stands_where_it_is_looked_for(guard: Guard) -> None:
    """Or taking it away would change nothing, and prove nothing."""
    assert (ROOT / guard.file).read_text().count(guard.text) == 1
    assert (ROOT / guard.test[0]).is_file()
