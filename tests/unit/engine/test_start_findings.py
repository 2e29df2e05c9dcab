"""What the start of a flow found is told for as long as it runs, and a look that fails stops nothing."""

from __future__ import annotations

from typing import cast

import pytest

from replicator.engine.flow.assembly import start_findings
from replicator.engine.flow.assembly.start_findings import StartFindings
from replicator.engine.switch.context import SwitchContext
from replicator.errors import ConnectionFailed, WrongCluster

SITE = cast("SwitchContext", None)


async def test_what_was_found_is_kept_until_a_look_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look by itself; one that cannot be made leaves what the last one found."""
    told: dict[str, str | None] = {"role": "the role was taken", "mixed": None, "cuts": "cuts were too high"}
    broken = False

    def look(name: str) -> object:
        async def found(_: SwitchContext) -> str | None:
            if broken:
                raise ConnectionFailed("no answer", cluster="east")
            return told[name]

        return found

    for attribute, name in (("give_back_role", "role"), ("undo_mix_ups", "mixed"), ("lower_high_cuts", "cuts")):
        monkeypatch.setattr(start_findings, attribute, look(name))
    found = StartFindings("f")
    for fails in (False, True):
        broken = fails
        await found.check_role(SITE)
        await found.check_switches(SITE)
        assert found.texts() == ["the role was taken", "cuts were too high"]
    broken, told["role"] = False, None
    await found.check_role(SITE)
    assert found.texts() == ["cuts were too high"]


def test_another_cluster_behind_an_address_is_said_first_and_only_while_it_is_so() -> None:
    """With what helps; another error that the flow waits for takes its place."""
    found = StartFindings("f")
    text = found.met(WrongCluster("it is another one", cluster="east", next_step="set cluster_id"))
    assert text.endswith("; next: set cluster_id")
    assert found.texts() == [text]
    assert "no answer" in found.met(ConnectionFailed("no answer", cluster="east"))
    assert found.texts() == []
