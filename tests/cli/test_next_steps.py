"""Commands that messages and documents tell an operator to run exist, with the options they are told with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.cli.main import app
from replicator.core.resolution import _ELSEWHERE
from replicator.model.resolution import ALLOWED, How
from replicator.model.states import Reason

ROOT = Path(__file__).parents[2]
NOUNS = "flow|mirror|switch|lease|group|offsets|audit|config|import|dev"
TOLD = re.compile(rf"(?:\breplicator |`(?!flow [a-z]-to-))({NOUNS}) ([a-z][a-z0-9-]*)")
PROSE = {"flow file"}
HOW = re.compile(r"--how ([a-z]+)")
WAITS_FROM = Reason.HELD_ELSEWHERE


def commands() -> set[str]:
    """Return the words of every command of the CLI: `NOUN VERB`."""
    found: set[str] = set()
    for noun in app.registered_groups:
        assert noun.typer_instance is not None
        for verb in noun.typer_instance.registered_commands:
            assert verb.callback is not None
            found.add(f"{noun.name or noun.typer_instance.info.name} {verb.name or verb.callback.__name__}")
    return found


def texts() -> Iterator[tuple[str, str]]:
    """Yield every text of the code, f-strings with their holes as X, and of the documents."""
    for path in sorted((ROOT / "replicator").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield (
                    path.name,
                    "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values),
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path.name, node.value
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for line in path.read_text().splitlines():
            yield path.name, line


def test_every_command_that_is_told_exists() -> None:
    """Of each `replicator NOUN VERB` its words, and of each `--how` its value."""
    known, hows = commands(), {how.value for how in How}
    told = 0
    for where, text in texts():
        for match in TOLD.finditer(text):
            words = f"{match[1]} {match[2]}"
            if words in PROSE:
                continue
            told += 1
            assert words in known, f"{where}: {match[0]}"
        for match in HOW.finditer(text):
            assert match[1] in hows, f"{where}: {match[0]}"
    assert told > 50


@pytest.mark.parametrize("reason", list(Reason)[: list(Reason).index(WAITS_FROM)])
def test_every_reason_that_stops_tells_what_helps(reason: Reason) -> None:
    """It is resolved, or it is said what is done instead: nothing that stops goes on by itself."""
    assert reason in ALLOWED or reason in _ELSEWHERE
