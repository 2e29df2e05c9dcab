"""Sizes, durations and addresses: text to numbers and back, by one rule for files, command lines and URLs.

Every `parse_` function raises ValueError with a sentence that says what is wrong and what is allowed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

SIZE_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
DURATION_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
SIZE_ALLOWED = "allowed: bytes as an integer, or a number with B, KB, MB, GB, TB, KiB, MiB, GiB, TiB (64MiB)"
DURATION_ALLOWED = "allowed: a whole number with ms, s, m or h (500ms, 5s, 2m, 1h)"
ADDRESS_ALLOWED = "allowed: host:port (kafka-1:9092, 127.0.0.1:9092, [::1]:9092)"
DIGITS_MAX = 15
"""No real size or duration has more digits; the bound keeps int() cheap."""
SHOWN_MAX = 60

_NUMBER_UNIT = re.compile(r"([0-9]+)\s*([A-Za-z]*)", re.ASCII)
_WORD = re.compile(r"\S+")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?", re.ASCII)


def shown(text: str) -> str:
    """Return a value as a message may quote it: short, and without the user:password part of a URL."""
    # Word by word: a search for text that ends with `@` restarts at each character, 20 s for 60 kB without one.
    text = _WORD.sub(_without_user, text)
    return repr(text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "...")


def _without_user(word: re.Match[str]) -> str:
    return f"***@{word[0].rpartition('@')[2]}" if "@" in word[0] else word[0]


def _number_unit(text: str, allowed: str) -> tuple[int, str]:
    match = _NUMBER_UNIT.fullmatch(text.strip())
    if match is None or len(match[1]) > DIGITS_MAX:
        raise ValueError(f"{shown(text)} is not a number with a unit; {allowed}")
    return int(match[1]), match[2]


def parse_size(value: object) -> int:
    """Return bytes from an integer or from text such as ``64MiB``.

    Raises:
        ValueError: Neither, or not above 0.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str):
        number, unit = _number_unit(value, SIZE_ALLOWED)
        factor = SIZE_UNITS.get(unit or "B")
        if factor is None:
            raise ValueError(f"{unit!r} is not a unit of size; {SIZE_ALLOWED}")
        size = number * factor
    else:
        raise ValueError(f"must be a size; {SIZE_ALLOWED}")  # noqa: TRY004  # one error type for every caller
    if size <= 0:
        raise ValueError(f"must be above 0; {SIZE_ALLOWED}")
    return size


def format_size(size: int) -> int | str:
    """Return the shortest exact way to write a size of bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return size


def parse_duration(value: object) -> float:
    """Return seconds from text such as ``500ms``.

    Raises:
        ValueError: Not text, no unit, or not above 0.
    """
    if not isinstance(value, str):
        raise ValueError(f"must be a duration with its unit; {DURATION_ALLOWED}")  # noqa: TRY004  # as above
    number, unit = _number_unit(value, DURATION_ALLOWED)
    factor = DURATION_UNITS_MS.get(unit)
    if factor is None:
        problem = f"{unit!r} is not a unit of time" if unit else f"{shown(value)} has no unit"
        raise ValueError(f"{problem}; {DURATION_ALLOWED}")
    if number == 0:
        raise ValueError(f"must be above 0; {DURATION_ALLOWED}")
    return number * factor / 1000


def format_duration(seconds: float) -> str:
    """Return the shortest exact way to write a duration of seconds."""
    milliseconds = round(seconds * 1000)
    for unit in ("h", "m", "s"):
        if milliseconds % DURATION_UNITS_MS[unit] == 0:
            return f"{milliseconds // DURATION_UNITS_MS[unit]}{unit}"
    return f"{milliseconds}ms"


def format_age(seconds: float) -> str:
    """Return a time span for people, not exact: `3.2s`, `1m35s`, `2h03m` or `4d06h`."""
    if seconds < 60:  # noqa: PLR2004  # a minute
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if not hours:
        return f"{minutes}m{rest:02}s"
    return f"{days}d{hours_left:02}h" if days else f"{hours}h{minutes_left:02}m"


TIME_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999."""
TIME_ALLOWED = "allowed: milliseconds since 1970 (1790000000500), or ISO 8601 with a zone (2026-09-21T14:13:20.5Z)"


def parse_time_ms(text: str) -> int:
    """Return a moment as Unix time in milliseconds: from such a number, or from ISO 8601 with a zone.

    Raises:
        ValueError: It is neither, or lies before 1970.
    """
    if re.fullmatch(r"[0-9]{1,15}", text, re.ASCII):
        moment_ms = int(text)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"{text} is not a moment; {TIME_ALLOWED}") from error
        if moment.tzinfo is None:
            raise ValueError(f"{text} has no zone; {TIME_ALLOWED}")
        # In whole numbers: a float of that size is not exact to the millisecond.
        moment_ms = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if not 0 <= moment_ms <= TIME_MS_MAX:
        raise ValueError(f"{text} lies before 1970 or after 9999; {TIME_ALLOWED}")
    return moment_ms


def parse_address(value: object) -> tuple[str, int]:
    """Return (host, port) from ``host:port``; an IPv6 host is in brackets.

    Raises:
        ValueError: Not of that form, or the port is outside 1 to 65535.
    """
    if not isinstance(value, str):
        raise ValueError(f"must be an address; {ADDRESS_ALLOWED}")  # noqa: TRY004  # as above
    text = value.strip()
    if not text:
        raise ValueError(f"is empty; {ADDRESS_ALLOWED}")
    if "://" in text:
        raise ValueError(f"{shown(text)} is a URL, not an address; {ADDRESS_ALLOWED}")
    host, colon, port = text.rpartition(":")
    if not colon or (host.count(":") and not host.endswith("]")):
        raise ValueError(f"{shown(text)} has no port; {ADDRESS_ALLOWED}")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:  # noqa: PLR2004  # the range itself
        raise ValueError(f"{shown(text)}: the port must be 1 to 65535; {ADDRESS_ALLOWED}")
    return _host(host, text), int(port)


def _host(host: str, text: str) -> str:
    if not host:
        raise ValueError(f"{shown(text)} has no host; {ADDRESS_ALLOWED}")
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host.strip("[]")))
        except ValueError:
            raise ValueError(f"{shown(text)}: no IPv6 address in the brackets; {ADDRESS_ALLOWED}") from None
    if not _HOST.fullmatch(host):
        raise ValueError(f"{shown(text)}: not a host name; {ADDRESS_ALLOWED}")
    return host


def parse_bootstrap(value: object) -> tuple[tuple[str, int], ...]:
    """Return every (host, port) of a comma-separated list.

    Raises:
        ValueError: Not text, or one entry is not an address.
    """
    if not isinstance(value, str):
        raise ValueError('must be text: one or more host:port, separated by commas ("kafka-1:9092,kafka-2:9092")')  # noqa: TRY004  # as above
    return tuple(parse_address(entry) for entry in value.split(","))


def format_address(address: tuple[str, int]) -> str:
    """Return ``host:port``, with brackets around an IPv6 host."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def format_bootstrap(addresses: Iterable[tuple[str, int]]) -> str:
    """Return every ``host:port``, separated by commas."""
    return ",".join(map(format_address, addresses))


def is_loopback(host: str) -> bool:
    """Return whether a host can only be this machine; a name other than localhost counts as remote."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
