"""The same warning is written once a minute, and what was left out is counted."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
import structlog

from replicator.obs import logs, repeats
from replicator.obs.repeats import Repeats


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def told(clock: Clock) -> Any:
    """Return what is written of a warning, None where it is dropped."""
    processor = Repeats(clock)

    def write(event: str, method: str = "warning", **fields: Any) -> dict[str, Any] | None:
        try:
            return dict(processor(None, method, {"event": event, "logger": "x", **fields}))
        except structlog.DropEvent:
            return None

    return write


def test_the_same_line_is_written_once_a_minute_and_says_how_many_were_left_out(clock: Clock, told: Any) -> None:
    """Per flow, partition and shard; what differs in its figures alone is the same."""
    assert told("claim not worked", flow="a", shard=0, why="no answer in 4.6 s") is not None
    for seconds in (5.1, 5.2, 5.3):
        assert told("claim not worked", flow="a", shard=0, why=f"no answer in {seconds} s") is None
    assert told("claim not worked", flow="a", shard=1, why="no answer in 4.6 s") is not None
    assert told("claim not worked", flow="b", shard=0, why="no answer in 4.6 s") is not None
    assert told("groups not in step", flow="a", why="no answer in 4.6 s") is not None
    clock.seconds += 61
    again = told("claim not worked", flow="a", shard=0, why="no answer in 70.1 s")
    assert again is not None
    assert again["suppressed"] == 3
    clock.seconds += 61
    assert "suppressed" not in told("claim not worked", flow="a", shard=0, why="no answer in 9 s")


def test_another_reason_is_written_at_once_but_not_any_number_of_them(told: Any) -> None:
    """A broker chooses its words: as many as it can think of must not fill the disk."""
    written = [told("trouble", place="east broker 1", why=word * 3) is not None for word in "abcdefgh"]
    assert written == [True] * 5 + [False] * 3
    assert told("trouble", place="east broker 2", why="aaa") is not None


def test_what_ends_something_and_what_follows_an_order_always_passes(told: Any) -> None:
    """Errors by their level, warnings by their mark, which is not written; and all that is no warning."""
    for _ in range(3):
        assert told("flow stopped", method="error", flow="a", why="x") is not None
        assert told("partition stopped", flow="a", why="x", always=True) == {
            "event": "partition stopped",
            "logger": "x",
            "flow": "a",
            "why": "x",
        }
        assert told("flow paused", method="info", flow="a") is not None


def test_the_table_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand partitions with one warning each."""
    monkeypatch.setattr(repeats, "_LINES_MAX", 10)
    processor = Repeats(clock)
    for number in range(10_000):
        processor(None, "warning", {"event": "x", "partition": f"t-{number}"})
    assert len(processor._lines) == 10


def test_every_logger_goes_through_it() -> None:
    """As it is set up for a daemon."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    stream = io.StringIO()
    try:
        logs.configure(stream)
        for _ in range(3):
            logs.get_logger("one").warning("trouble", place="east broker 1", why="down")
            logs.get_logger("one").warning("partition stopped", partition="t-0", always=True)
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["trouble", *["partition stopped"] * 3]
    assert "always" not in lines[1]
