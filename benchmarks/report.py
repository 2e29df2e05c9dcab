"""Results as text: tables on the terminal, a dated section in RESULTS.md, profiles beside it."""

from __future__ import annotations

import dataclasses
import io
import json
import pstats
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.measure import describe_commit
from benchmarks.results import OTHERS_CORES_MAX, Results
from benchmarks.tables import Table, tables

RESULTS_FILE = Path(__file__).parent / "RESULTS.md"
RAW = Path(__file__).parent / "raw"
PROFILES = Path(__file__).parent / "profiles"

_PROFILE_LINES = 25
_WIDTH_MIN = 200
_HEADING = """\
# Results

Each section is one run of `make bench`; the newest is last. How it is measured: see the head of `benchmarks/run.py`.
GB and MB are powers of ten of bytes on the source's wire; CPU is that of the process tree while it copies; "floor" is
what it costs this machine, in the same minute, to receive, checksum and send a GB (`benchmarks/floor.py`).
"""


def print_results(results: Results) -> None:
    """Show everything on the terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_MIN)
    for table in tables(results):
        shown = RichTable(title=table.title, title_justify="left")
        for at, column in enumerate(table.columns):
            shown.add_column(column, justify="left" if at == 0 else "right")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for line in _remarks(results):
        console.print(line, markup=False)


def append_results(results: Results, facts: Sequence[str]) -> None:
    """Add a section to RESULTS.md.

    Args:
        results: What was found.
        facts: What the figures depend on, one sentence each.
    """
    lines = [] if RESULTS_FILE.exists() else [_HEADING]
    lines.append(f"\n## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {describe_commit()}\n")
    lines += [f"- {fact}" for fact in facts]
    for table in tables(results):
        lines += ["", f"### {table.title}", "", *_markdown(table)]
    lines += ["", "### Targets", "", *(f"- {line}" for line in _remarks(results))]
    with RESULTS_FILE.open("a") as file:
        file.write("\n".join(lines) + "\n")


def write_raw(results: Results, facts: Sequence[str]) -> Path:
    """Write every run that counts, as JSON, with the units of the dataclasses; return the file."""
    RAW.mkdir(exist_ok=True)
    file = RAW / f"{datetime.now(UTC):%Y%m%d-%H%M}.json"
    file.write_text(json.dumps({"facts": facts, **dataclasses.asdict(results)}, indent=1) + "\n")
    return file


def write_profile(raw: Path, name: str) -> Path:
    """Turn what cProfile wrote into text: the functions with the most time of their own."""
    PROFILES.mkdir(exist_ok=True)
    text = io.StringIO()
    pstats.Stats(str(raw), stream=text).strip_dirs().sort_stats("tottime").print_stats(_PROFILE_LINES)
    file = PROFILES / f"{datetime.now(UTC):%Y%m%d-%H%M}-{name}.txt"
    file.write_text(text.getvalue())
    return file


def _remarks(results: Results) -> Iterator[str]:
    verdicts = results.verdicts()
    yield f"{sum(verdict.met for verdict in verdicts)} of {len(verdicts)} targets met"
    yield from (str(verdict) for verdict in verdicts if not verdict.met)
    if disturbed := results.disturbed():
        yield f"disturbed, others used more than {OTHERS_CORES_MAX} cores meanwhile: {', '.join(disturbed)}"
    yield from (f"no figure: {problem}" for problem in results.all_problems())
    yield from (f"profile: {profile}" for profile in results.profiles)


def _markdown(table: Table) -> list[str]:
    def line(cells: Iterator[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rule = line("---" if at == 0 else "--:" for at in range(len(table.columns)))
    return [line(iter(table.columns)), rule, *(line(iter(row)) for row in table.rows)]
