"""Logging: readable lines on a terminal, JSON lines elsewhere, and no secrets in either.

Lines of standard library loggers (grpc, asyncio, uvicorn, our own) take the same path as structlog's.
"""

from __future__ import annotations

import contextvars
import logging
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from importlib.util import find_spec
from typing import Any, TextIO

from replicator.model.security import Secret
from replicator.model.text import printable


def _import_structlog_without_rich() -> None:
    """Import structlog as if rich were not installed.

    structlog pulls in rich and pygments for tracebacks that we do not show: 150 ms and 14 MiB of a daemon's memory
    (measured, structlog 26.1), more than the rest of the control side.
    """
    if "structlog" in sys.modules or "rich" in sys.modules or find_spec("rich") is None:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # `import` takes this as "not installed"
    try:
        __import__("structlog")
    finally:
        del sys.modules["rich"]


_import_structlog_without_rich()

import structlog  # noqa: E402  # only here, see above

from replicator.obs.repeats import Repeats  # noqa: E402  # imports structlog

# Until it is configured, commands log to standard error: their output may be JSON that a program reads.
structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))

_MASK = "***"
_SECRET_WORDS = ("password", "secret", "token", "credential", "private_key")
_DEPTH_MAX = 6


def configure(stream: TextIO = sys.stderr, level: str = "INFO") -> None:
    """Configure structlog and the standard library's root logger; another call replaces the configuration.

    Args:
        stream: Where lines go; a terminal gets the readable form.
        level: Name of the lowest level to show, such as ``INFO``.

    Raises:
        ValueError: There is no such level.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    structlog.configure(
        processors=[
            *shared,
            Repeats(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(readable=stream.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These two log every request at INFO or DEBUG, which is of no use to our operators.
    for name in ("asyncio", "uvicorn"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; get loggers only here, since this module keeps rich out (see above)."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def in_flow(flow: str) -> contextvars.Context:
    """Return a context in which every log line has its flow, and `flow_of` returns it."""
    context = contextvars.copy_context()
    context.run(structlog.contextvars.bind_contextvars, flow=flow)
    return context


def flow_of(context: contextvars.Context | None) -> str | None:
    """Return the flow that a context belongs to (the current context by default); None if it belongs to none."""
    bound = structlog.contextvars.get_contextvars
    flow = (bound() if context is None else context.run(bound)).get("flow")
    return flow if isinstance(flow, str) else None


def redact(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask every Secret, and every value whose name suggests one; a structlog processor."""
    del logger, method
    return {key: _redacted(key, value, _DEPTH_MAX) for key, value in event.items()}


def _rendering(*, readable: bool) -> list[Any]:
    # Redaction comes second to last, so it also covers what other processors add, such as exception texts.
    if readable:
        plain = structlog.dev.plain_traceback
        return [redact, _escape, structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    return [structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer(default=str)]


def _escape(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what a terminal would act upon: values contain names and texts from other parties."""
    del logger, method
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}


def _redacted(key: object, value: object, depth: int) -> object:
    if isinstance(value, Secret):
        return _MASK
    if isinstance(key, str) and value is not None and _names_a_secret(key):
        return _MASK
    if depth == 0:
        return value
    if isinstance(value, Mapping):
        return {name: _redacted(name, inner, depth - 1) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_redacted(None, inner, depth - 1) for inner in value]
    return value


def _names_a_secret(key: str) -> bool:
    lower = key.lower()
    # A path to a secret is not secret, and an operator needs to see it.
    return any(word in lower for word in _SECRET_WORDS) and not lower.endswith("_file")
