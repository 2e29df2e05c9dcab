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


def _taken(pool: FramePool, owed_bytes: int = 0) -> Frame:
    frame = pool.take(owed_bytes)
    assert frame is not None
    return frame


def test_a_second_large_batch_waits_for_the_first() -> None:
    """Two of them were twice the bound. Meanwhile no frame is given out that would keep it waiting for good."""
    pool, granted = FramePool(10, 100), list[str]()
    first, second = _taken(pool), _taken(pool)
    assert first.reserve(600, lambda: granted.append("first"))
    assert not second.reserve(600, lambda: granted.append("second"))
    assert pool.take() is None
    assert pool.in_use_bytes == 700
    first.release()
    assert granted == ["second"]
    assert second.reserve(600, lambda: granted.append("again"))
    assert pool.take() is not None
    assert granted == ["second"]


def test_frames_wait_to_grow_in_their_order() -> None:
    """A small one behind a large one does not pass it by; where both have room, one follows the other."""
    pool, granted = FramePool(10, 100), list[str]()
    held, large, small = _taken(pool), _taken(pool), _taken(pool)
    assert held.reserve(900, lambda: None)
    assert not large.reserve(800, lambda: granted.append("large"))
    assert not small.reserve(150, lambda: granted.append("small"))
    held.release()
    assert granted == ["large"]
    assert large.reserve(800, lambda: None)
    assert granted == ["large", "small"]
    assert small.reserve(150, lambda: None)


def test_one_that_is_given_up_leaves_the_line() -> None:
    """Its connection was lost; the next one has its turn."""
    pool, granted = FramePool(10, 100), list[str]()
    held, lost, next_one = _taken(pool), _taken(pool), _taken(pool)
    assert held.reserve(900, lambda: None)
    assert not lost.reserve(950, lambda: granted.append("lost"))
    assert not next_one.reserve(150, lambda: granted.append("next"))
    lost.release()
    assert granted == []
    held.release()
    assert granted == ["next"]


def test_a_batch_beyond_all_bounds_is_read_alone() -> None:
    """Beside frames that hold nothing, as those of readers that wait for news."""
    pool = FramePool(4, 100)
    idle, huge = _taken(pool), _taken(pool)
    assert huge.reserve(5000, lambda: None)
    assert not idle.reserve(101, lambda: None)
    assert idle.reserve(100, lambda: None)


def test_beside_a_target_that_hangs_small_frames_go_on() -> None:
    """What a large batch waits for is not on its way then: others must not wait for it, too."""
    pool = FramePool(10, 100)
    stuck, waits = _taken(pool), _taken(pool)
    assert stuck.reserve(600, lambda: None)
    assert not waits.reserve(600, lambda: None)
    assert pool.take() is None
    others = [_taken(pool, 600) for _ in range(3)]
    assert pool.take(600) is None
    assert pool.in_use_bytes == pool.bytes_max
    assert all(other.reserve(100, lambda: None) for other in others)


def test_frames_beside_one_that_grew_a_little() -> None:
    """There is room for more of its size."""
    pool = FramePool(10, 100)
    grown = pool.take()
    assert grown is not None
    grown.reserve(300)
    assert pool.take() is not None
    assert pool.in_use_bytes == 400


def test_beside_a_batch_as_large_as_all_that_a_hanging_target_is_owed_one_frame_goes_on() -> None:
    """One, so that the bound is passed by no more than that."""
    pool = FramePool(10, 100)
    stuck = _taken(pool)
    assert stuck.reserve(990, lambda: None)
    assert pool.take() is None
    other = _taken(pool, 990)
    assert pool.take(990) is None
    assert other.reserve(100, lambda: None)
    other.release()
    assert _taken(pool, 990) is other


def test_what_a_burst_needed_is_given_up_a_minute_later() -> None:
    """Not what is used again and again; and never what is in use."""
    pool = FramePool(10, 100)
    pool.give_up_spare(1000.0)
    burst = [_taken(pool) for _ in range(5)]
    pool.give_up_spare(1061.0)
    for frame in burst:
        frame.release()

    def use_two(now: float) -> int:
        pool.give_up_spare(now)
        two = [_taken(pool), _taken(pool)]
        for frame in two:
            frame.release()
        return pool._made

    assert [use_two(now) for now in (1062.0, 1100.0, 1122.0, 1150.0, 1183.0, 1250.0)] == [5, 5, 5, 5, 2, 2]
    held = _taken(pool)
    for now in (1400.0, 1500.0, 1600.0):
        pool.give_up_spare(now)
    assert pool._made == 1
    held.release()


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
