"""A TCP proxy in front of one broker's REPL listener that understands frames, and so can lose a chosen answer.

It runs on its own event loop in a thread. What it does with each request is decided by a `Plan`.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import struct
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
PRODUCE = 0
_SIZE = struct.Struct(">i")
_HEAD = struct.Struct(">hhi")
_JOIN_SECONDS = 10
_TURN_SECONDS = 0.005


class Action(enum.Enum):
    """What happens to one request."""

    PASS = "pass"  # noqa: S105 - no password
    LOSE_ANSWER = "lose_answer"
    """The broker does it, the answer goes nowhere, the connection stays open: the client waits for its time-out."""
    CUT_ANSWER = "cut_answer"
    """The broker does it; instead of the answer the client sees its connection closed."""
    CUT_REQUEST = "cut_request"
    """The broker gets half of the request, then both connections are closed."""
    LATE = "late"
    """The client's connection is closed at once; the broker gets the request `late_seconds` after that."""
    INVENT = "invent"
    """The broker never gets it; the client gets what `invent` says."""


Plan = Callable[[int, bytes], Action]
"""Request kind (Kafka's API key) and the whole frame, to what happens to it."""
Spoil = Callable[[int, int, bytes], bytes]
"""Kind and version of the request that was answered and the whole frame of the answer, to the frame that arrives."""


def spoil_nothing(_api: int, _version: int, frame: bytes) -> bytes:
    """Touch nothing."""
    return frame


def pass_all(_api: int, _frame: bytes) -> Action:
    """Touch nothing."""
    return Action.PASS


FAULTS = tuple(action for action in Action if action not in {Action.PASS, Action.INVENT})
"""Every action that harms, as bad links do."""


def spoil(api: int, one_of: int, actions: Sequence[Action], seed: int) -> Plan:
    """Return a plan that does one of `actions` to about one of so many requests of that kind."""
    chance = random.Random(seed)  # noqa: S311 - moments of faults

    def plan(asked: int, _frame: bytes) -> Action:
        return chance.choice(actions) if asked == api and not chance.randrange(one_of) else Action.PASS

    return plan


def spoil_once(action: Action, holding: bytes) -> Plan:
    """Return a plan that does `action` to the next produce that holds these bytes, and to no other."""
    left = [action]

    def plan(asked: int, frame: bytes) -> Action:
        return left.pop() if left and asked == PRODUCE and holding in frame else Action.PASS

    return plan


class FaultProxy:
    """Forwards `port` to `upstream_port`, both on 127.0.0.1. A context manager.

    Attributes:
        plan: Asked for each request; may be exchanged at any time.
        spoil: Asked for each answer; the same.
        invent: From a request that the broker does not get to the answer.
        late_seconds: How late a `LATE` request reaches the broker.
        distance_seconds: How long every answer is on its way.
        done: How often each action was taken.
    """

    def __init__(self, port: int, upstream_port: int, *, late_seconds: float = 1.0) -> None:
        self.plan: Plan = pass_all
        self.spoil: Spoil = spoil_nothing
        self.invent: Callable[[bytes], bytes] = bytes
        self.late_seconds = late_seconds
        self.distance_seconds = 0.0
        self.done: Counter[Action] = Counter()
        self._port, self._upstream_port = port, upstream_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{port}", daemon=True)
        self._up = threading.Event()
        self._ending: asyncio.Event | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(_JOIN_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ending is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(_JOIN_SECONDS)

    @property
    def faults(self) -> int:
        """Requests that were not simply passed on."""
        return sum(count for action, count in self.done.items() if action is not Action.PASS)

    def close_connections(self) -> None:
        """Close every connection there is now; new ones are taken."""
        self._loop.call_soon_threadsafe(self._close_all)

    def _close_all(self) -> None:
        for writer in list(self._open):
            writer.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._ending = asyncio.Event()
        server = await asyncio.start_server(self._on_client, HOST, self._port)
        self._up.set()
        await self._ending.wait()
        server.close()
        self._close_all()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(HOST, self._upstream_port)
        except OSError:
            writer.close()
            return
        self._open |= {writer, upstream[1]}
        link = _Link(self, (reader, writer), upstream)
        try:
            await link.run()
        finally:
            self._open -= {writer, upstream[1]}
            writer.close()
            upstream[1].close()


class _Link:
    """One client connection and its upstream one."""

    def __init__(
        self,
        proxy: FaultProxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = client
        self._from_broker, self._to_broker = upstream
        self._lost: dict[int, Action] = {}
        self._apis: dict[int, tuple[int, int]] = {}

    async def run(self) -> None:
        """Forward until either side ends."""
        requests, answers = (asyncio.ensure_future(work) for work in (self._requests(), self._answers()))
        try:
            await asyncio.wait({requests, answers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (requests, answers):
                task.cancel()
            await asyncio.gather(requests, answers, return_exceptions=True)

    async def _requests(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(self._from_client)
                api, version, correlation = _HEAD.unpack_from(frame, _SIZE.size)
                action = self._proxy.plan(api, frame)
                self._proxy.done[action] += 1
                if action is Action.INVENT:
                    while self._apis:  # noqa: ASYNC110 - answers come in the order of the requests
                        await asyncio.sleep(_TURN_SECONDS)
                    self._arrive(self._proxy.invent(frame))
                    continue
                self._apis[correlation] = api, version
                if action is Action.CUT_REQUEST:
                    self._to_broker.write(frame[: len(frame) // 2])
                    await self._to_broker.drain()
                    return
                if action is Action.LATE:
                    self._to_client.close()
                    await asyncio.sleep(self._proxy.late_seconds)
                    self._to_broker.write(frame)
                    await self._to_broker.drain()
                    await asyncio.sleep(self._proxy.late_seconds)
                    return
                if action is not Action.PASS:
                    self._lost[correlation] = action
                self._to_broker.write(frame)
                await self._to_broker.drain()

    async def _answers(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(self._from_broker)
                (correlation,) = _SIZE.unpack_from(frame, _SIZE.size)
                action = self._lost.pop(correlation, Action.PASS)
                frame = self._proxy.spoil(*self._apis.pop(correlation, (-1, -1)), frame)
                if action is Action.CUT_ANSWER:
                    return
                if action is Action.PASS and self._proxy.distance_seconds:
                    asyncio.get_running_loop().call_later(self._proxy.distance_seconds, self._arrive, frame)
                elif action is Action.PASS and not self._to_client.is_closing():
                    self._to_client.write(frame)
                    await self._to_client.drain()

    def _arrive(self, frame: bytes) -> None:
        if not self._to_client.is_closing():
            self._to_client.write(frame)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """Read one frame, its size included."""
    size = await reader.readexactly(_SIZE.size)
    return size + await reader.readexactly(_SIZE.unpack(size)[0])
