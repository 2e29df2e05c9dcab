"""What a preflight found: frozen values, and their JSON shape."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


class Level(enum.StrEnum):
    """How bad it is: green, yellow (it will run, and you should know), red (it will not run)."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        level: How bad it is.
        name: What was checked, a word or two.
        text: What was found.
        fix: What helps: a command or an action; empty if there is nothing to do.
    """

    level: Level
    name: str
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """The findings on one cluster or one flow."""

    title: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All findings."""

    sections: tuple[Section, ...]

    def count(self, level: Level) -> int:
        """Return how many findings have that level."""
        return sum(check.level is level for section in self.sections for check in section.checks)

    @property
    def passed(self) -> bool:
        """Whether nothing is red."""
        return self.count(Level.FAIL) == 0

    def failures(self) -> Iterable[Check]:
        """Return the red findings."""
        return (check for section in self.sections for check in section.checks if check.level is Level.FAIL)


def ok(name: str, text: str, fix: str = "") -> Check:
    """Return a green finding."""
    return Check(Level.OK, name, text, fix)


def warn(name: str, text: str, fix: str = "") -> Check:
    """Return a yellow finding."""
    return Check(Level.WARN, name, text, fix)


def fail(name: str, text: str, fix: str = "") -> Check:
    """Return a red finding."""
    return Check(Level.FAIL, name, text, fix)


def to_json(report: Report) -> dict[str, Any]:
    """Return the findings as `validate --connect -o json` shows them."""
    return {
        "passed": report.passed,
        "ok": report.count(Level.OK),
        "warn": report.count(Level.WARN),
        "fail": report.count(Level.FAIL),
        "sections": [asdict(section) for section in report.sections],
    }
