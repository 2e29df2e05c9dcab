"""Growth is judged after the warm-up, and by a slope: not by two samples that happen to lie far apart."""

import pytest

from benchmarks.results import Results
from benchmarks.soak import Sample, SoakRun

MB = 1_000_000


def run_of(rss: list[float], seconds_between: float = 60.0) -> SoakRun:
    """Return a run with a sample a minute."""
    samples = tuple(Sample(number * seconds_between, int(each * MB), 30, 20, 50) for number, each in enumerate(rss))
    return SoakRun(len(rss) * seconds_between, samples, 0, 0, 100 * MB, 1)


def missed(run: SoakRun) -> list[str]:
    """Return what a run misses."""
    return [verdict.what for verdict in Results(soak=run).verdicts() if not verdict.met]


def test_what_is_taken_in_the_first_ten_minutes_is_no_growth() -> None:
    """Caches fill then."""
    assert missed(run_of([50 + 5 * minute for minute in range(10)] + [100.0] * 110)) == []


def test_two_megabytes_an_hour_are_found() -> None:
    """However the single samples go up and down."""
    run = run_of([100 + 2 * minute / 60 + (-1) ** minute * 3 for minute in range(130)])
    assert run.rss_megabytes_per_hour == pytest.approx(2.0, abs=0.1)
    assert missed(run) == ["soak: RSS, MB more an hour"]


def test_without_a_sample_after_the_warm_up_there_is_no_verdict() -> None:
    """Unknown is not flat."""
    run = run_of([100.0] * 5)
    assert run.rss_megabytes_per_hour is None
    assert [verdict.what for verdict in Results(soak=run).verdicts()] == ["soak: peak RSS, MB"]
