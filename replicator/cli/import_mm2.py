"""`replicator import mm2 FILE`: turns a MirrorMaker 2 properties file into a flow file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli.printing import output
from replicator.errors import ConfigError, UsageError
from replicator.files import read_regular

if TYPE_CHECKING:
    from replicator.config.mm2 import Imported, Row

_FILE_BYTES_MAX = 1 << 20
_COLUMNS = (
    output.Column("LINE", right=True),
    output.Column("MIRRORMAKER 2", folds=True),
    output.Column("BECAME"),
    output.Column("HERE", folds=True),
)

app = typer.Typer(help="Import another replicator's configuration.", no_args_is_help=True)


@app.callback()
def _common() -> None:
    """Import another replicator's configuration."""


@app.command("mm2")
def mm2_command(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Properties file of connect-mirror-maker.sh.", show_default=False),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write.", show_default="standard output")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Turn a MirrorMaker 2 properties file into a flow file.

    Reports what has no counterpart. The flow file never holds a secret. Exits with 78 and lists every mistake if FILE
    cannot be understood.
    """
    from replicator.config.mm2 import convert  # pydantic, only when used

    imported = convert(_read(file), str(file))
    if out is None:
        sys.stdout.write(imported.text)
    else:
        _write(out, imported.text, force=force)
    _sum_up(imported, file, out)


def _read(file: Path) -> bytes:
    try:
        content = read_regular(file, _FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read", why=error.strerror or str(error)) from None
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigError(f"{file} is too large; allowed: {_FILE_BYTES_MAX >> 20} MiB")
    return content


def _write(out: Path, text: str, *, force: bool) -> None:
    try:
        with out.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(
            f"{out} already exists", next_step="choose another name, or repeat the command with --force"
        ) from None
    except OSError as error:
        raise UsageError(f"{out} cannot be written", why=error.strerror or str(error)) from None


def _sum_up(imported: Imported, file: Path, out: Path | None) -> None:
    """Report on standard error what became of each line; standard output may be the flow file."""
    output.table(_COLUMNS, [_cells(row) for row in imported.rows], to=sys.stderr)
    output.note("")
    counts = {row.fate: sum(one.fate is row.fate for one in imported.rows) for row in imported.rows}
    output.note(f"{file}: " + ", ".join(f"{count} {fate}" for fate, count in sorted(counts.items())))
    output.note(f"flows: {', '.join(imported.flows) or 'none; see the comments'}")
    if imported.variables:
        output.note(f"set before you start it: {', '.join(imported.variables)}")
    output.note(f"next: replicator validate {out or 'FILE'} --connect")


def _cells(row: Row) -> tuple[str, str, str, str]:
    return str(row.line), row.key, row.fate, row.text
