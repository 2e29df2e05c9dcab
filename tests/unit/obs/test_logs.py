"""Lines for machines and for people, and no secret in either."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from replicator.model.security import Secret
from replicator.obs import logs

CANARY = "canary-6021"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the JSON lines written so far."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_off_a_terminal_for_structlog_and_stdlib_alike() -> None:
    """Same keys, same stream, UTC time."""
    stream = io.StringIO()
    logs.configure(stream, "info")
    logs.get_logger("replicator.engine").info("flow is active", flow="east-to-west", lag_records=3)
    logging.getLogger("grpc.something").warning("it is %s", "late", extra={"flow": "f"})

    ours, theirs = lines(stream)

    assert (ours["event"], ours["flow"], ours["lag_records"]) == ("flow is active", "east-to-west", 3)
    assert (ours["level"], ours["logger"]) == ("info", "replicator.engine")
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["level"], theirs["flow"]) == ("it is late", "warning", "f")
    assert set(theirs) == {"event", "level", "logger", "timestamp", "flow"}


def test_a_terminal_gets_readable_lines() -> None:
    """Not JSON, and with the values beside the sentence."""
    stream = Terminal()
    logs.configure(stream)
    logs.get_logger("x").info("flow is active", flow="east")

    text = stream.getvalue()
    assert "flow is active" in text
    assert "east" in text
    assert not text.startswith("{")


def test_the_level_is_a_bound() -> None:
    """Below it nothing is written; configuring again changes it and adds no second line."""
    stream = io.StringIO()
    logs.configure(stream, "WARNING")
    logs.get_logger("x").info("quiet")
    logs.configure(stream, "INFO")
    logs.get_logger("y").info("loud")

    assert [line["event"] for line in lines(stream)] == ["loud"]


def _fail(secret: Secret) -> None:
    raise ValueError(secret)


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_secrets_do_not_show(stream: io.StringIO) -> None:
    """By type wherever they are, by name where a library logs plain text, and in tracebacks."""
    logs.configure(stream)
    secret = Secret(CANARY)
    log = logs.get_logger("x")
    log.info("a", value=secret, nested={"list": [secret, {"deep": secret}]})
    log.info("b", sasl_password=CANARY, oauth={"access_token": CANARY}, password_file="/run/secrets/east")  # noqa: S106
    logging.getLogger("y").info("c %s %r", secret, secret)
    try:
        _fail(secret)
    except ValueError:
        log.exception("d")

    text = stream.getvalue()
    assert CANARY not in text
    assert "***" in text
    assert "/run/secrets/east" in text
    assert "ValueError" in text


def test_structlog_comes_without_rich() -> None:
    """14 MiB of a daemon's memory."""
    code = "import replicator.obs.logs, sys; print('rich' in sys.modules, 'structlog' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "True"]


def test_what_a_command_line_logs_is_no_part_of_its_output() -> None:
    """A warning before JSON would make it none."""
    code = "from replicator.obs.logs import get_logger; get_logger('x').warning('seen'); print('{}')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{}\n"
    assert "seen" in done.stderr
