"""What the reader makes of librdkafka's messages."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.admin.reader import PartitionReader


class Shown:
    """A message as librdkafka shows it."""

    def __init__(self, kind: int, time_ms: int) -> None:
        self._time = (kind, time_ms)

    def offset(self) -> int:
        """Any."""
        return 7

    def timestamp(self) -> tuple[int, int]:
        """Kind and time."""
        return self._time

    def key(self) -> None:
        """None."""

    def value(self) -> None:
        """None."""

    def headers(self) -> None:
        """None."""


@pytest.mark.parametrize(("kind", "shown", "time_ms"), [(0, 0, -1), (1, 0, 0), (1, -1, -1), (1, 5, 5), (2, 5, 5)])
def test_no_time_is_the_same_in_every_message_format(
    monkeypatch: pytest.MonkeyPatch, kind: int, shown: int, time_ms: int
) -> None:
    """A message of format 0 has no time, a copy of it in format 2 has -1: the two are equal, 1970 is not."""
    monkeypatch.setattr(PartitionReader, "_inside", lambda _self, messages: messages)
    messages: list[Any] = [Shown(kind, shown)]

    assert PartitionReader.__new__(PartitionReader)._rows(messages) == [(7, time_ms, None, None, None)]
