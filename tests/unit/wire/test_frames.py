"""Frames, their pool, and request heads."""

from __future__ import annotations

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
