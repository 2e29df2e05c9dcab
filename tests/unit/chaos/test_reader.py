"""The reader that judges a run asks again where a leader has just moved."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position

from chaos import reader as module
from chaos.errors import ChaosError
from chaos.reader import Bounds, Reader

MOVED = KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))


def _reader(monkeypatch: pytest.MonkeyPatch, refusals: int) -> Reader:
    """Return a reader whose client refuses so many times before it answers."""
    left = [MOVED] * refusals

    def watermarks(_position: Position, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        if left:
            raise left.pop()
        return 3, 9

    made = Reader("127.0.0.1:1")
    monkeypatch.setattr(made, "_consumer", type("Client", (), {"get_watermark_offsets": staticmethod(watermarks)})())
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    return made


def test_a_leader_that_has_just_moved_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One refusal behind a broker's restart says nothing about the copy."""
    assert _reader(monkeypatch, 3).bounds(("t", 0)) == Bounds(3, 9)


def test_a_leader_that_never_answers_ends_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is bounded, and the end says what was asked."""
    monkeypatch.setattr(module, "STALL_SECONDS_MAX", -1.0)
    with pytest.raises(ChaosError, match="could not be asked for its ends"):
        _reader(monkeypatch, 1).bounds(("t", 0))
