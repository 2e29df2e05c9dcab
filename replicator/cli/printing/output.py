"""The one way commands print: tables, JSON, YAML, names, and human-readable numbers.

Data goes to standard output, everything else to standard error. rich, json and ruamel.yaml are imported where
they are used, since most invocations need none or one of them.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from replicator.model.text import printable
from replicator.model.units import format_age

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 2
_STYLES = {"ACTIVE": "green", "PAUSED": "yellow", "SEEDING": "cyan", "PENDING": "cyan", "FAULTED": "red"}
_UNLIMITED = 100_000
_NAME_MAX = 64
UNKNOWN = "-"


class Format(enum.StrEnum):
    """How a command prints its data."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


FormatOption = Annotated[Format, typer.Option("--output", "-o", help="Output format.")]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    A narrow terminal drops columns by `rank`: the highest first, 0 never. A column that `folds` may wrap its text
    there. `wide` columns show only with `-o wide`. Without it, long `names` are shortened in the middle.
    """

    title: str
    right: bool = False
    rank: int = 0
    folds: bool = False
    wide: bool = False
    names: bool = False


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, wide: bool = False, to: TextIO | None = None
) -> None:
    """Print a table: fitted to a terminal, at its full width with `wide` or into a pipe; `to` defaults to stdout.

    Without `wide`, names are shortened to 64 characters: a topic's may have 249. The content of a cell stays in its
    cell: line breaks and terminal sequences in names are printed as escapes.
    """
    from rich.table import Table  # 50 ms, only for tables
    from rich.text import Text

    to = sys.stdout if to is None else to
    console = _console(to)
    fitted = console.is_terminal and not wide
    shown = [at for at, column in enumerate(columns) if wide or not column.wide]
    rows = [[printable(cell) for cell in row] for row in rows]
    if not wide:
        cut = [column.names for column in columns]
        rows = [[shortened(cell) if long else cell for long, cell in zip(cut, row, strict=True)] for row in rows]
    if fitted:
        shown = _fit(columns, rows, shown, console.width)
    else:
        console = _console(to, width=_UNLIMITED)
    grid = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="")
    for at in shown:
        column = columns[at]
        grid.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=not (fitted and column.folds),
        )
    for row in rows:
        grid.add_row(*(Text(row[at], style=_STYLES.get(row[at], "")) for at in shown))
    with console.capture() as capture:
        console.print(grid)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    to.write("\n".join(lines) + "\n")


def shortened(name: str) -> str:
    """Return a long name without its middle: either end may be what distinguishes two names."""
    if len(name) <= _NAME_MAX:
        return name
    tail = (_NAME_MAX - 1) // 2
    return f"{name[: _NAME_MAX - 1 - tail]}…{name[-tail:]}"


def line(text: str = "") -> None:
    """Print one line of data, or several of ours; terminal control sequences are printed as escapes."""
    sys.stdout.write(printable(text, lines=True) + "\n")


def note(text: str) -> None:
    """Print a remark to standard error, as `line` does."""
    sys.stderr.write(printable(text, lines=True) + "\n")


def names(of: Iterable[str]) -> None:
    """Print one name per line."""
    for name in of:
        line(printable(name))


def document(form: Format, value: dict[str, Any], *, stream: bool = False) -> None:
    """Print a JSON or YAML document; in a stream each is a JSON line, or begins with `---`."""
    import json

    text = json.dumps(value, indent=None if stream else 2)
    if form is Format.JSON:
        line(text)
        return
    from ruamel.yaml import YAML  # 70 ms

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = False  # as in JSON: YAML counts characters that reverse a line's direction as printable
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    if stream:
        line("---")
    # Through JSON, so that both show exactly the same values (enums as their names).
    writer.dump(json.loads(text), sys.stdout)


def fresh_screen() -> None:
    """Clear the terminal before the next round of a watch; elsewhere do nothing."""
    console = _console(sys.stdout)
    if console.is_terminal:
        console.clear()


def number(value: int | None) -> str:
    """Return a count with thousands separators."""
    return UNKNOWN if value is None else f"{value:,}"


def age(seconds: float | None) -> str:
    """Return a span such as `3.2s`, `1m35s`, `2h03m` or `4d06h`."""
    return UNKNOWN if seconds is None else format_age(seconds)


def text(value: object) -> str:
    """Return a value as it is, or a dash for unknown."""
    return UNKNOWN if value is None or value == "" else str(value)


def _console(to: TextIO, width: int | None = None) -> Console:
    from rich.console import Console

    return Console(file=to, width=width, highlight=False, markup=False, emoji=False)


def _fit(columns: Sequence[Column], rows: Sequence[Sequence[str]], shown: list[int], width: int) -> list[int]:
    """Return the columns that remain after dropping the least important ones for lack of space."""
    widths = {at: max(len(columns[at].title), *(len(row[at]) for row in rows), 0) for at in shown}
    by_importance = sorted((at for at in shown if columns[at].rank), key=lambda at: -columns[at].rank)
    kept = list(shown)
    for at in by_importance:
        if sum(widths[one] + _GAP for one in kept) - _GAP <= width:
            break
        kept.remove(at)
    return kept
