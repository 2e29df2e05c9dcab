"""What is told to somebody whose order is refused: commands that exist, and that work where the switch stands."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

import replicator
from replicator.cli.main import app
from replicator.core.switch.machine.helps import after_the_end, beside, instead_of_abort, source_was_written_to
from replicator.core.switch.orders import begin
from replicator.core.switch.running import aborted, copy_for_source, escalated, way_back
from replicator.errors import Conflict, PreflightFailed, UsageError
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Decision, Direction, Options, Outcome, StepName, StepRecord, SwitchOrder, Verb

ROOT = Path(replicator.__file__).parent
TOLD = [
    *sorted((ROOT / "core/switch").rglob("*.py")),
    *sorted((ROOT / "engine/switch").rglob("*.py")),
    ROOT / "engine/work/fence.py",
]
_COMMAND = re.compile(r"replicator ((?:\{order\.verb\}|\{verb\}|[a-z]+)(?: [a-z]+)?)((?: [^`;,\n]*?)?(--[a-z-]+))?")
GROUPS = {"flow", "switch", "mirror", "group", "lease", "offsets", "audit", "config", "import", "dev"}


def commands() -> dict[str, set[str]]:
    """Return every command of the command line with its options."""
    found: dict[str, set[str]] = {}

    def walk(command: Any, name: str) -> None:
        for child, one in getattr(command, "commands", {}).items():
            walk(one, f"{name} {child}".strip())
        found[name] = {option for each in command.params for option in each.opts}

    walk(typer.main.get_command(app), "")
    return found


EVERY = commands()


def check(text: str, where: str = "") -> None:
    """Fail where a text names a command, or an option of one, that does not exist."""
    for words, _, option in _COMMAND.findall(text):
        first, *rest = words.split()
        if first.startswith("{"):
            continue
        name = f"{first} {rest[0]}" if first in GROUPS and rest else first
        assert name in EVERY, f"{where}: there is no command {name!r} in {text!r}"
        assert not option or option in EVERY[name], f"{where}: {name} has no {option}"


@pytest.mark.parametrize("path", TOLD, ids=lambda path: path.name)
def test_commands_that_are_told_exist(path: Path) -> None:
    """And they are whole: `switch abort` alone cannot be typed."""
    for line in path.read_text().splitlines():
        if '"' not in line or line.lstrip().startswith(('"""', "#")):
            continue
        check(line, path.name)
        bare = re.search(r"`(switch|failover|failback|switchover|mirror|flow|group) ?[a-z]*", line)
        assert bare is None, f"{path.name}: {line.strip()}"


DONE = (StepName.PREFLIGHT, StepName.OFFER_WAY_BACK, StepName.BEGIN_FENCE, StepName.CONFIRM, StepName.GIVE_UP_WAY_BACK)
JOURNALS = st.builds(
    lambda verb, outcome, direction, options, done, topics, decision: Journal(
        "s",
        verb,
        "e2w",
        topics,
        outcome=outcome,
        direction=direction,
        options=options,
        history=tuple(StepRecord(step, 1) for step in done),
        decision=decision,
    ),
    st.sampled_from(Verb),
    st.sampled_from(Outcome),
    st.sampled_from(Direction),
    st.builds(Options, way_back=st.booleans(), reverse_flow=st.just("w2e")),
    st.lists(st.sampled_from(DONE), unique=True),
    st.sampled_from([(), ("a", "b")]),
    st.none() | st.sampled_from(Decision),
)


@given(JOURNALS)
def test_whatever_a_switch_has_come_to(journal: Journal) -> None:
    """Each text has a command, and names the flow."""
    for helps in (beside, instead_of_abort, after_the_end, source_was_written_to):
        text = helps(journal)
        assert "replicator " in text
        assert "e2w" in text
        check(text)
        assert shlex.split(text.replace("'", ""))


@given(JOURNALS)
def test_the_way_back_is_offered_only_where_there_is_one(journal: Journal) -> None:
    """The daemon would refuse it: the target may be open by now."""
    journal = replace(journal, outcome=Outcome.RUNNING, direction=Direction.FORWARD)
    offered = "--target-lost" in instead_of_abort(journal)
    assert offered == ("--target-lost" in source_was_written_to(journal)) or journal.verb is Verb.FAILBACK
    copy = replace(copy_for_source(journal), decision=Decision.UNDECIDED)
    if journal.decision is Decision.FORWARD or journal.did(StepName.GIVE_UP_WAY_BACK):
        copy = replace(copy, decision=Decision.FORWARD)
    if offered:
        assert way_back(copy, "why").direction is Direction.BACK
    elif journal.verb is Verb.SWITCHOVER and journal.options.way_back:
        with pytest.raises(Conflict):
            way_back(copy, "why")


@given(JOURNALS)
def test_a_command_that_is_offered_beside_a_switch_is_taken(journal: Journal) -> None:
    """An abort that is offered undoes it; where the source was written to a failover takes over."""
    journal = replace(journal, outcome=Outcome.RUNNING)
    order = SwitchOrder("o", Verb.FAILOVER, "e2w", topics=("other",))
    with pytest.raises(Conflict) as caught:
        begin(Switches(journal), order, promoted=False, now_ms=1)
    if "switch abort" in caught.value.next_step:
        assert aborted(journal, "why", 1).direction is Direction.ABORTING
    elif journal.direction is Direction.FORWARD:
        with pytest.raises(Conflict):
            aborted(journal, "why", 1)
    if journal.verb is Verb.SWITCHOVER and journal.direction is Direction.FORWARD:
        taken = begin(Switches(journal), replace(order, topics=journal.topics), promoted=False, now_ms=1)
        assert taken.switches.current == escalated(journal, replace(order, topics=journal.topics), 1)


@pytest.mark.parametrize("reverse", ["", "w2e"])
@pytest.mark.parametrize(
    ("verb", "promoted", "opened"),
    [
        (Verb.FAILBACK, False, False),
        (Verb.FAILBACK, True, False),
        (Verb.FAILBACK, True, True),
        (Verb.SWITCHOVER, True, False),
        (Verb.FAILOVER, True, False),
    ],
)
def test_every_refusal_of_a_first_order_says_what_to_do(
    verb: Verb, reverse: str, *, promoted: bool, opened: bool
) -> None:
    """With a command for this flow, or the one that goes back."""
    order = SwitchOrder("o", verb, "e2w", options=Options(reverse_flow=reverse))
    with pytest.raises((PreflightFailed, UsageError)) as caught:
        begin(Switches(), order, promoted=promoted, now_ms=1, was_cut=opened, reverse_opened=opened, other="w2e")
    told = caught.value.next_step
    check(told)
    assert "replicator " in told or "reverse_of: e2w" in told
