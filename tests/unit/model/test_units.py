"""Sizes, durations and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.model import units


@pytest.mark.parametrize(
    ("text", "expected"),
    [(65536, 65536), ("512", 512), ("64MiB", 64 << 20), ("1GB", 10**9), ("2 KiB", 2048), ("7B", 7)],
)
def test_sizes(text: object, expected: int) -> None:
    """Binary and decimal units."""
    assert units.parse_size(text) == expected


@pytest.mark.parametrize("text", ["64M", "64mib", "1.5GiB", "-1", "", "0", 0, True, None, [], "9" * 16])
def test_what_is_no_size(text: object) -> None:
    """No guessing: 64M could mean either."""
    with pytest.raises(ValueError, match="allowed"):
        units.parse_size(text)


@pytest.mark.parametrize(("text", "expected"), [("500ms", 0.5), ("5s", 5), ("2m", 120), ("1h", 3600)])
def test_durations(text: str, expected: float) -> None:
    """Seconds come out."""
    assert units.parse_duration(text) == expected


@pytest.mark.parametrize("text", ["5", 5, "5 sec", "0s", "1m30s", "-5s", None, "1.5s"])
def test_what_is_no_duration(text: object) -> None:
    """A bare number has no unit, and nobody knows which was meant."""
    with pytest.raises(ValueError, match="allowed"):
        units.parse_duration(text)


@given(st.integers(1, 10**9))
def test_durations_and_sizes_survive_writing(number: int) -> None:
    """`config effective` writes what the loader reads."""
    assert units.parse_duration(units.format_duration(number / 1000)) == number / 1000
    assert units.parse_size(units.format_size(number)) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a:1", ("a", 1)), ("kafka-1.x_y.example.:65535", ("kafka-1.x_y.example.", 65535)), ("[::1]:9092", ("::1", 9092))],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    """And they are written as they are read."""
    assert units.parse_address(text) == expected
    assert units.format_address(expected) == text


@pytest.mark.parametrize(
    "text", ["", "a", ":1", "a:", "a:0", "a:65536", "::1:9092", "[x]:1", "SASL://a:1", "a b:1", 9092, "a:b:1"]
)
def test_what_is_no_address(text: object) -> None:
    """Said before a connection fails with something less clear."""
    with pytest.raises(ValueError, match="allowed"):
        units.parse_address(text)


def test_a_bootstrap_is_a_list_in_one_text() -> None:
    """As in every Kafka client."""
    assert units.parse_bootstrap("a:1, b:2") == (("a", 1), ("b", 2))
    assert units.format_bootstrap((("::1", 1), ("b", 2))) == "[::1]:1,b:2"
    with pytest.raises(ValueError, match="empty"):
        units.parse_bootstrap("a:1,")


def test_spans_as_people_read_them() -> None:
    """Two parts at most."""
    spans = (0.0, 3.24, 59.9, 60, 95, 7_380, 367_200)
    shown = ["0.0s", "3.2s", "59.9s", "1m00s", "1m35s", "2h03m", "4d06h"]
    assert [units.format_age(span) for span in spans] == shown


def test_the_password_of_a_url_is_not_shown() -> None:
    """Someone will paste one."""
    with pytest.raises(ValueError, match="URL") as caught:
        units.parse_address("kafka://me:canary@host:9092")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.8.0.1", True), ("::1", True), ("192.0.2.1", False), ("kafka", False)],
)
def test_loopback(host: str, expected: bool) -> None:  # noqa: FBT001  # a table of examples
    """Any other name is taken as remote."""
    assert units.is_loopback(host) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1790000000500", 1_790_000_000_500),
        ("1970-01-01T01:00:00.0019+01:00", 1),
        ("9999-12-31T23:59Z", 253_402_300_740_000),
    ],
)
def test_moments(text: str, expected: int) -> None:
    """Whole milliseconds."""
    assert units.parse_time_ms(text) == expected


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5", "now", "2026-09-21", "2026-09-21T14:13:20", "1960-01-01T00:00Z", "9" * 15]
)
def test_what_is_no_moment(text: str) -> None:
    """A moment without a zone would be another one on each machine."""
    with pytest.raises(ValueError, match=r"allowed: milliseconds since 1970"):
        units.parse_time_ms(text)


@pytest.mark.timeout(60)
def test_long_text_is_quoted_in_time() -> None:
    """It took 20 s for each 60 kB, of an URL or a flow file, and four times that for twice as much."""
    with pytest.raises(ValueError, match=r"'9{60}\.\.\.' is not a number"):
        units.parse_duration("9" * 2_000_000)
    assert units.shown("see https://user:secret@host and a@b@c") == "'see ***@host and ***@c'"
