"""Lag and seconds at risk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.status.lag import FRESH_SECONDS, LagMeter


def test_nothing_is_known_before_the_first_observation() -> None:
    """Unknown is None, never 0."""
    meter = LagMeter()

    assert (meter.lag_records(), meter.rpo_seconds(10.0)) == (None, None)


def test_a_target_that_never_reached_an_observed_end_has_no_rpo() -> None:
    """While the first copy runs there is a lag in records, and no figure in seconds."""
    meter = LagMeter()
    meter.observe(100, 1.0)
    meter.reach(40)

    assert (meter.lag_records(), meter.rpo_seconds(5.0)) == (60, None)


def test_an_idle_source_that_is_seen_has_no_data_at_risk() -> None:
    """Each observation of an end that is reached starts the clock anew."""
    meter = LagMeter()
    meter.reach(100)
    meter.observe(100, 1.0)
    meter.observe(100, 9.0)

    assert (meter.lag_records(), meter.rpo_seconds(9.0)) == (0, 0.0)


def test_the_figure_grows_while_the_source_is_unseen() -> None:
    """Nobody knows what was written meanwhile."""
    meter = LagMeter()
    meter.reach(100)
    meter.observe(100, 1.0)

    assert meter.rpo_seconds(61.0) == 60.0


def test_reaching_the_newest_observation_counts_from_it() -> None:
    """Passing the oldest mark and the newest end at once, the newest counts."""
    meter = LagMeter()
    meter.observe(10, 1.0)
    meter.observe(20, 5.0)
    meter.reach(20)

    assert meter.caught_up_at == 5.0


def test_reaching_only_the_oldest_mark_counts_from_that() -> None:
    """The next mark is the newest observation: the figure is never smaller than the truth."""
    meter = LagMeter()
    meter.observe(10, 1.0)
    meter.observe(20, 5.0)
    meter.observe(30, 7.0)
    meter.reach(15)
    assert meter.caught_up_at == 1.0
    meter.reach(25)
    assert meter.caught_up_at == 1.0
    meter.reach(30)
    assert meter.caught_up_at == 7.0


def test_a_source_end_that_moves_back_is_no_negative_lag() -> None:
    """After a truncation the lag reads 0 until the partition stops with its reason."""
    meter = LagMeter()
    meter.reach(100)
    meter.observe(90, 1.0)

    assert meter.lag_records() == 0


def test_a_clock_that_reads_earlier_is_no_negative_risk() -> None:
    """The figure is at least 0."""
    meter = LagMeter()
    meter.reach(1)
    meter.observe(1, 10.0)

    assert meter.rpo_seconds(9.0) == 0.0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60))
def test_the_figure_is_never_smaller_than_the_truth(steps: list[tuple[bool, int]]) -> None:
    """Against a meter that remembers every observation and so knows the exact latest one that was reached."""
    meter = LagMeter()
    seen: list[tuple[int, float]] = []
    end = reached = 0
    for moment, (grows, amount) in enumerate(steps, start=1):
        if grows:
            end += amount
            seen.append((end, float(moment)))
            meter.observe(end, float(moment))
        else:
            reached = min(end, reached + amount)
            meter.reach(reached)
        exact = max((at for size, at in seen if size <= reached), default=None)
        figure = meter.rpo_seconds(float(moment))
        assert figure is None or (exact is not None and figure >= moment - exact)
        if end == reached and seen:
            assert figure == moment - seen[-1][1]


def test_silence_of_the_source_is_an_observation() -> None:
    """It ended where it was last seen to end: nothing is at risk, and what is behind has been behind since before."""
    meter = LagMeter()
    meter.reach(100)
    meter.confirm(0.5)
    assert (meter.observed_at,) == (None,)
    meter.observe(100, 1.0)
    meter.confirm(50.0)
    assert (meter.observed_at, meter.rpo_seconds(51.0)) == (50.0, 1.0)
    meter.observe(120, 60.0)
    meter.confirm(90.0)
    assert (meter.observed_at, meter.rpo_seconds(91.0)) == (90.0, 41.0)
    meter.reach(120)
    assert meter.rpo_seconds(91.0) == 1.0


def test_an_observation_that_is_heard_late_changes_nothing() -> None:
    """Two are asked at the same time, and the older one is heard last."""
    meter = LagMeter()
    meter.reach(20)
    meter.observe(20, 5.0)
    meter.observe(10, 4.0)
    meter.confirm(3.0)
    assert (meter.observed_end, meter.observed_at, meter.caught_up_at) == (20, 5.0, 5.0)


def test_nothing_behind_is_said_of_a_fresh_look_only() -> None:
    """Records that were seen to be behind are, until they are copied."""
    meter = LagMeter()
    meter.reach(20)
    meter.observe(20, 5.0)
    assert meter.lag_records_at(5.0 + FRESH_SECONDS) == 0
    assert meter.lag_records_at(5.1 + FRESH_SECONDS) is None
    meter.observe(27, 6.0)
    assert meter.lag_records_at(1000.0) == 7
