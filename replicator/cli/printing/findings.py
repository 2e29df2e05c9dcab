"""How the findings of a preflight or a rehearsal are printed, and what they mean for the exit code."""

from __future__ import annotations

import sys
import textwrap
from typing import Any

from replicator.errors import PreflightFailed
from replicator.model.operations.report import Check, Level, Report
from replicator.model.text import printable

_LABELS = {Level.OK: ("OK  ", "green"), Level.WARN: ("WARN", "yellow"), Level.FAIL: ("FAIL", "red")}
_WIDTH_MAX = 110
_WIDTH_PIPED = 100
_INDENT = "  "


def judge(report: Report) -> None:
    """Return if no check is red.

    Raises:
        PreflightFailed: At least one is.
    """
    if report.passed:
        return
    bad = list(report.failures())
    raise PreflightFailed(
        f"{len(bad)} {'check' if len(bad) == 1 else 'checks'} failed", why=bad[0].text, next_step=bad[0].fix
    )


def show(report: Report) -> None:
    """Print every finding, section by section, and the count per level."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    width = min(_WIDTH_MAX, console.width) if console.is_terminal else _WIDTH_PIPED
    for section in report.sections:
        console.print()
        console.print(section.title, style="bold", soft_wrap=True)
        for check in section.checks:
            _print_check(console, check, width)
    console.print()
    counts = [f"{report.count(level)} {level}" for level in Level]
    console.print(f"{'passed' if report.passed else 'refused'}: {', '.join(counts)}", soft_wrap=True)


def _print_check(console: Any, check: Check, width: int) -> None:
    from rich.text import Text

    label, style = _LABELS[check.level]
    start = f"{_INDENT}{label}  "
    lines = textwrap.wrap(
        printable(f"{check.name}: {check.text}", lines=True), max(30, width - len(start)), break_on_hyphens=False
    )
    console.print(Text.assemble(_INDENT, (label, style), "  ", lines[0]), soft_wrap=True)
    for line in lines[1:]:
        console.print(" " * len(start) + line, soft_wrap=True)
    if check.fix:  # unwrapped, so that a command can be copied
        name = "hint" if check.level == "ok" else "fix"
        console.print(f"{' ' * len(start)}{name}: {printable(check.fix, lines=True)}", soft_wrap=True)


# -- JSON -------------------------------------------------------------------------------------------------------------
