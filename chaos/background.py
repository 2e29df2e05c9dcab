"""Work on a thread of its own, from entering to leaving a `with`."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self


class Background:
    """A load on the source. A context manager; a subclass says what its thread does.

    Args:
        name: Of the thread.
        exit_seconds_max: How long leaving waits for it.

    Attributes:
        problems: What went wrong with the work itself.
    """

    def __init__(self, name: str, exit_seconds_max: float) -> None:
        self.problems: list[str] = []
        self._stopping = threading.Event()
        self._exit_seconds_max = exit_seconds_max
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(self._exit_seconds_max)

    def _run(self) -> None:
        try:
            self._write()
        except Exception as error:  # noqa: BLE001 - the thread's end must not pass for a quiet load
            self.problems.append(repr(error))

    def _write(self) -> None:
        """Write until `_stopping` is set."""
        raise NotImplementedError
