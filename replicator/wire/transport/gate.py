"""Holds requests back before they leave: while a login is renewed, and for pauses that a broker asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Gate:
    """The way out of one connection, which may be shut for a while.

    Attributes:
        shut_until: The end of the last pause that a broker asked for, by the loop's clock in seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.shut_until = 0.0
        self._loop = loop
        self._pause: asyncio.TimerHandle | None = None
        self._is_logging_in = False
        self._held: list[Callable[[], None]] = []
        self._when_free: dict[Callable[[], None], None] = {}

    @property
    def is_shut(self) -> bool:
        """Whether requests wait here."""
        return self._is_logging_in or self._pause is not None

    def hold(self, send: Callable[[], None]) -> None:
        """Call `send` once the gate is open; callbacks run in the order of these calls."""
        self._held.append(send)

    def when_free(self, then: Callable[[], None]) -> None:
        """Call `then` once, as soon as the gate is open and what was held has left."""
        self._when_free[then] = None

    def pause_until(self, until: float) -> None:
        """Stay shut until `until`, which is later than `shut_until`."""
        self.shut_until = until
        if self._pause is not None:
            self._pause.cancel()
        self._pause = self._loop.call_at(until, self._end_pause)

    def _end_pause(self) -> None:
        self._pause = None
        self._go_on()

    def begin_login(self) -> None:
        """Stay shut until `end_login`."""
        self._is_logging_in = True

    def end_login(self) -> None:
        """Open again: the login is done."""
        self._is_logging_in = False
        self._go_on()

    def open_for_good(self) -> None:
        """Let everything pass: the connection is closed, and reports that to every sender."""
        if self._pause is not None:
            self._pause.cancel()
        self._pause, self._is_logging_in = None, False
        self._go_on()

    def _go_on(self) -> None:
        """Send what was held back, unless the gate is still shut for another reason."""
        if self.is_shut:
            return
        held, self._held = self._held, []
        for send in held:
            send()
        waiting, self._when_free = self._when_free, {}
        for then in waiting:
            then()
