"""Frames, their pool, and request heads."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicator.errors import BugError
from replicator.wire.frames import Frame, FramePool, request_head, request_head_v1


def test_a_pool_never_gives_out_more_than_its_bound() -> None:
    """It is the bound on memory."""
    pool = FramePool(2, 100)
    first, second = pool.take(), pool.take()
    assert first is not None
    assert second is not None
    assert (pool.take(), pool.in_use) == (None, 2)
    first.release()

    assert pool.take() is first


def test_a_frame_returns_with_its_last_holder() -> None:
    """One for the reader, one for each batch."""
    pool = FramePool(1, 100)
    frame = pool.take()
    assert frame is not None
    frame.hold(2)
    frame.release()
    frame.release()
    assert pool.take() is None
    frame.release()

    assert pool.take() is frame


def test_a_frame_that_had_to_grow_is_not_kept() -> None:
    """One huge answer does not stay in memory for ever; another frame may take its place."""
    pool = FramePool(1, 100)
    frame = pool.take()
    assert frame is not None
    frame.reserve(1000)
    assert (len(frame.view), frame.size) == (1000, 1000)
    frame.release()

    fresh = pool.take()
    assert fresh is not None
    assert fresh is not frame
    assert len(fresh.buffer) == 100


def test_a_pool_that_is_divided_anew_keeps_its_bound_in_bytes() -> None:
    """Frames of the size before are given up as they return."""
    pool = FramePool(2, 300)
    held = pool.take()
    other = pool.take()
    assert held is not None
    assert other is not None
    other.release()
    pool.divide(6, 100)
    small = [pool.take() for _ in range(4)]

    assert [frame is not None for frame in small] == [True, True, True, False]
    held.release()
    more = [pool.take() for _ in range(4)]
    assert [len(frame.buffer) if frame is not None else 0 for frame in more] == [100, 100, 100, 0]


def test_reserving_less_keeps_the_buffer() -> None:
    """Only `size` tells how much of it counts."""
    frame = Frame(100)
    buffer = frame.buffer
    frame.reserve(10)

    assert (frame.buffer is buffer, frame.size) == (True, 10)


def test_a_release_too_many_is_a_bug() -> None:
    """It would give one buffer to two readers."""
    frame = Frame(1)
    frame.hold()
    frame.release()
    with pytest.raises(BugError):
        frame.release()


def test_request_heads_have_the_length_of_what_follows() -> None:
    """Version 2 ends in an empty tag section, version 1 does not."""
    flexible = request_head(1, 12, 7, b"me", 100)
    plain = request_head_v1(17, 1, 7, b"me", 100)

    assert flexible == b"\x00\x00\x00\x71" + b"\x00\x01\x00\x0c\x00\x00\x00\x07\x00\x02me\x00"
    assert plain == b"\x00\x00\x00\x70" + b"\x00\x11\x00\x01\x00\x00\x00\x07\x00\x02me"


def test_where_a_batch_took_all_the_room_the_next_frame_waits_for_as_much() -> None:
    """The next answer may be as large: two of them were twice the bound."""
    pool = FramePool(10, 100)
    large = pool.take()
    assert large is not None
    large.reserve(600)
    assert pool.take() is None
    large.release()
    small = [pool.take() for _ in range(10)]
    assert all(frame is not None for frame in small)
    assert pool.take() is None


def test_frames_beside_one_that_grew_a_little() -> None:
    """There is room for more of its size."""
    pool = FramePool(10, 100)
    grown = pool.take()
    assert grown is not None
    grown.reserve(300)
    assert pool.take() is not None
    assert pool.in_use_bytes == 400


@pytest.mark.parametrize("size", [1000, 3 << 20])
def test_an_answer_has_a_frame_of_its_size(size: int) -> None:
    """Also one that is mapped; a claim takes no memory before the bytes are there."""
    before = _resident_bytes()
    frames = [Frame.of_answer(size) for _ in range(20)]
    assert _resident_bytes() - before < 20 << 20
    frames[0].view[:4] = b"\x00\x00\x00\x07"
    assert frames[0].size == len(frames[0].view) == len(frames[0].buffer) == size
    assert bytes(frames[0].buffer[:4]) == b"\x00\x00\x00\x07"


def _resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10
