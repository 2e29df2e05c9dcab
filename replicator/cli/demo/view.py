"""The demo's output: numbered steps in plain words, facts below them, a last screen.

Colors and a spinner on a terminal; the same words as plain lines when piped.
"""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_MAX = 80
_INDENT = "     "
_LINE_SECONDS = 5.0

Say = Callable[[str], None]
"""Replaces the text of a running wait."""


class View:
    """Prints steps and facts to standard output."""

    def __init__(self, steps: int) -> None:
        from rich.console import Console  # 50 ms, only for the demo

        self._console: Console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        self._width = min(_WIDTH_MAX, self._console.width) if self._console.is_terminal else _WIDTH_MAX
        self._steps = steps
        self._step = 0

    def opening(self, title: str, text: str) -> None:
        """Print what this is about."""
        self._print(title, "bold")
        self._paragraph(text, "")

    def step(self, title: str, text: str) -> None:
        """Begin a step: its title, and what it shows."""
        self._step += 1
        self._print("")
        self._print(f"[{self._step}/{self._steps}] {title}", "bold")
        self._paragraph(text, _INDENT, "dim")

    def fact(self, text: str) -> None:
        """Print something that was found."""
        lines = textwrap.wrap(text, self._width - len(_INDENT) - 2, break_on_hyphens=False)
        for at, line in enumerate(lines):
            self._print(f"{_INDENT}{'> ' if at == 0 else '  '}{line}", "green")

    @contextmanager
    def waiting(self, text: str) -> Iterator[Say]:
        """Show what we wait for while the block runs."""
        if self._console.is_terminal:
            with self._console.status(f"{text} ...", spinner="dots") as status:
                yield lambda now: status.update(f"{text}: {now} ...")
            return
        shown_at = time.monotonic()

        def say(now: str) -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at >= _LINE_SECONDS:
                shown_at = time.monotonic()
                self._print(f"{_INDENT}  {text}: {now} ...")

        yield say

    def table(self, title: str, rows: Sequence[tuple[str, str, bool | None]]) -> None:
        """Print the last screen: name, value, and whether the value is good (None: neither)."""
        self._print("")
        self._print(title, "bold")
        width = max(len(name) for name, _, _ in rows)
        for name, value, good in rows:
            style = "" if good is None else "bold green" if good else "bold red"
            lines = textwrap.wrap(value, self._width - width - 4, break_on_hyphens=False) or [""]
            self._pair(f"  {name:<{width}}  ", lines[0], style)
            for line in lines[1:]:
                self._pair(" " * (width + 4), line, style)

    def plain(self, text: str = "") -> None:
        """Print a line unwrapped, however long: a command to copy."""
        self._print(text)

    def _paragraph(self, text: str, indent: str, style: str = "") -> None:
        for line in textwrap.wrap(text, self._width - len(indent), break_on_hyphens=False):
            self._print(indent + line, style)

    def _pair(self, name: str, value: str, style: str) -> None:
        from rich.text import Text

        self._console.print(Text.assemble(name, (value, style)), soft_wrap=True)

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style or None, soft_wrap=True)
        self._console.file.flush()
