"""What is refused is counted, and told at most so often."""

from __future__ import annotations

from replicator.control.refusals import _REMEMBERED_MAX, _REPORTED_MAX, Refusals


def test_the_same_refusal_is_told_once_a_minute_with_what_was_left_out() -> None:
    """Of each caller and call."""
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    assert [refusals.report("eve", "StartSwitch") for _ in range(4)] == [0, None, None, None]
    assert refusals.report("eve", "SetDesired") == 0
    assert refusals.report("bob", "StartSwitch") == 0
    now[0] = 60.0
    assert refusals.report("eve", "StartSwitch") == 3
    assert refusals.report("eve", "StartSwitch") is None


def test_many_callers_are_bounded_together() -> None:
    """In what is told, and in what is remembered."""
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    told = [refusals.report(f"caller {number}", "StartSwitch") for number in range(5000)]
    assert sum(one is not None for one in told) == _REPORTED_MAX
    for minute in range(1, 40):
        now[0] = minute * 60.0
        for number in range(100):
            refusals.report(f"caller {minute} {number}", "StartSwitch")
    assert len(refusals._reported) <= _REMEMBERED_MAX
