"""Every command of ours that a text tells an operator to give exists, with its options, as the command line has it.

Texts are those of the source tree (errors, findings, tables, docstrings), README, DESIGN, the docs and the samples.
"""

from __future__ import annotations

import ast
import enum
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

from replicator.cli.main import app, expand_watch

ROOT = Path(__file__).parents[2]
_PAGES = ("README.md", "DESIGN.md", "CHANGELOG.md", "docs/*.md", "configs/**/*.yaml", "configs/**/*.md")
_CLI = get_command(app)
_WRONG = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What is raised for any line that cannot be meant."""
_VALUE = "1"
"""Stands for whatever is filled in: a name, a number, a file."""
_HOW = "accept"
_ARGUMENTS_MAX = 3
_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_:-]*|\.\.\.|\{\w+\}|\[\w+\]")
_NO_COMMANDS = ("flow file", "import __version__", "import errors")
"""What `replicator ...` also stands for."""


class How(enum.Enum):
    """How a text tells a command."""

    ALONE = enum.auto()
    """Nothing but the command stands there: a line of a block of code."""
    NEXT = enum.auto()
    """It is what to do next, though a sentence may go on behind it: it can be given as it is."""
    NAMED = enum.auto()
    """It is talked about: its arguments may be left out."""


class Told(NamedTuple):
    """A command as a text has it."""

    where: str
    text: str
    how: How


def parse(words: list[str]) -> None:
    """Parse a command line without running it.

    Raises:
        _WRONG: There is no such command, option or argument, or one is missing.
    """
    command = _CLI
    context = typer.Context(command, info_name="replicator")
    left = expand_watch(words)
    while isinstance(command, TyperGroup):
        if not left:
            raise typer.BadParameter("Missing command")
        name, found, left = command.resolve_command(context, left)
        assert found is not None
        command, context = found, typer.Context(found, parent=context, info_name=name)
    command.make_context(context.info_name, left, parent=context.parent)


def is_name(words: list[str], *, group: bool = True) -> bool:
    """Return whether these are the name of a command, or of a group of them, without anything to it."""
    command = _CLI
    for word in words:
        found = command.commands.get(word) if isinstance(command, TyperGroup) else None
        if found is None:
            return False
        command = found
    return bool(words) and (group or not isinstance(command, TyperGroup))


def filled(text: str) -> list[list[str]]:
    """Return the words of a command with its placeholders filled in, once for each of its alternatives."""
    words = text.split()
    for at, word in enumerate(words):
        if at and words[at - 1] == "--how" and (word == "HOW" or _VALUE in word):
            words[at] = _HOW
        elif _PLACEHOLDER.fullmatch(word):
            words[at] = _VALUE
    ways = [word.split("|") if re.fullmatch(r"[\w-]+(\|[\w-]+)+", word) else [word] for word in words]
    return [list(each) for each in itertools.product(*ways)]


def problem(told: Told) -> str | None:
    """Return what is wrong with a command, None where it can be given as it is told.

    In a sentence other words follow it: it is the longest beginning that can be given, and has all options in it.
    """
    for words in filled(told.text):
        found = _problem(words, told.how)
        if found is not None:
            return f"{told.where}: `replicator {' '.join(words)}`: {found}"
    return None


def _problem(words: list[str], how: How) -> str | None:
    first: str | None = None
    options = [at for at, word in enumerate(words) if word.startswith("-") and word != "-"]
    shortest = len(words) if how is How.ALONE else max(options, default=0) + 1
    if how is How.NAMED and is_name(words):
        return None
    for end in range(len(words), shortest - 1, -1):
        if how is How.NAMED and is_name(words[:end], group=False):
            return None
        error = _error(words[:end])
        for left_out in range(1, _ARGUMENTS_MAX + 1):
            if how is How.NAMED and error is not None and _lacks_something(error):
                error = _error(words[:end] + [_VALUE] * left_out)
        if error is None or (how is How.NAMED and _lacks_something(error)):
            return None
        first = first or str(error)
    return first


def _error(words: list[str]) -> Exception | None:
    try:
        parse(words)
    except _WRONG as error:
        return error
    return None


def _lacks_something(error: Exception) -> bool:
    return type(error).__name__ == "MissingParameter" or "requires an argument" in str(error)


def commands_in(text: str) -> Iterator[str]:
    """Yield what follows `replicator` in a text, up to where the sentence goes on without it."""
    for match in re.finditer(r"(?<![\w./-])replicator (?=[a-z])", text):
        rest, before = text[match.end() :].split("\n", maxsplit=1)[0], text[: match.start()]
        if before.endswith("`"):
            yield rest.split("`")[0]
            continue
        rest = re.split(r"`|[,;)]|: |\.(?:\s|$)|:$| \(| #| > ", rest)[0]
        meant = not before.strip() or before.endswith("next: ") or is_name(rest.split()[:1])
        if meant and not rest.startswith(_NO_COMMANDS):
            yield rest


def text_of(node: ast.expr) -> str | None:
    """Return a string of the source, with a value for what is filled in; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    text = ""
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        elif not text or not text[-1].isalnum():  # else it is the end of a word: options, or none
            text += _VALUE
    return text


def in_source() -> Iterator[Told]:
    """Yield what texts of the source tell."""
    for file in sorted((ROOT / "replicator").rglob("*.py")):
        source = file.read_text()
        if "replicator " not in source.replace("from replicator ", ""):
            continue
        nodes = list(ast.walk(ast.parse(source)))
        parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        steps = {id(one.value) for call in calls for one in call.keywords if one.arg in {"next_step", "next"}}
        for node in nodes:
            text = text_of(node) if isinstance(node, ast.expr) and id(node) not in parts else None
            how = How.NEXT if id(node) in steps else How.NAMED
            for command in commands_in(text or ""):
                yield Told(f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", command, how)


def in_pages() -> Iterator[Told]:
    """Yield what pages tell: in blocks of code, and between backticks, where `replicator` may be left out."""
    for file in sorted(page for pattern in _PAGES for page in ROOT.glob(pattern)):
        block = file.suffix != ".md"
        for number, line in enumerate(file.read_text().splitlines(), 1):
            where = f"{file.relative_to(ROOT)}:{number}"
            if line.lstrip().startswith("```"):
                block = not block
            elif block and line.startswith("replicator "):
                yield Told(where, re.split(" #| > ", line)[0].removeprefix("replicator "), How.ALONE)
            else:
                yield from (Told(where, command, How.NAMED) for command in between_backticks(line))
                if "`" not in line:
                    yield from (Told(where, command, How.NAMED) for command in commands_in(line))


def between_backticks(line: str) -> Iterator[str]:
    """Yield the commands of a line."""
    for code in re.findall(r"`([^`]+)`", line):
        command = code.removeprefix("replicator ")
        words = command.split()
        named = is_name(words[:1]) and (len(words) == 1 or is_name(words[:2]) or words[1].startswith(("-", "FLOW")))
        if (code != command and not command.startswith(_NO_COMMANDS)) or named:
            yield command


def test_every_command_that_is_told_can_be_given() -> None:
    """An operator in a hurry copies it."""
    told = [*in_source(), *in_pages()]
    assert len(told) > 200, "the texts are not found any more"
    assert [wrong for each in told if (wrong := problem(each)) is not None] == []


@pytest.mark.parametrize(
    ("text", "how", "wrong"),
    [
        ("flow stat", How.NAMED, "No such command 'stat'"),
        ("flow status FLOW --wach", How.NAMED, "No such option: --wach"),
        ("flow status FLOW names the producer", How.NEXT, None),
        ("flow status FLOW names the producer", How.ALONE, "unexpected extra argument"),
        ("mirror describe", How.NAMED, None),
        ("mirror describe -o wide", How.NAMED, None),
        ("mirror", How.NAMED, None),
        ("mirror", How.NEXT, "Missing command"),
        ("mirror describe shows it", How.NAMED, None),
        ("mirror describe", How.NEXT, "Missing parameter: flow"),
        ("mirror resolve FLOW TOPIC --how skip|mend", How.NEXT, "'mend' is not one of"),
        ("mirror resolve --how mend", How.NAMED, "'mend' is not one of"),
        ("flow status --watch", How.ALONE, None),
    ],
)
def test_a_wrong_command_is_found(text: str, how: How, wrong: str | None) -> None:
    """A command, an option, a choice or an argument that is not there."""
    found = problem(Told("here", text, how))
    assert found is None if wrong is None else wrong in (found or "")
