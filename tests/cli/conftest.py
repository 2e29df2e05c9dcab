"""A fake daemon behind a real socket, and a way to run command lines against it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from replicator.cli.main import main
from replicator.rpc.server.server import RpcServer
from tests.unit.rpc.fake_daemon import FakeDaemon


class Result(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A daemon with three flows, to which REPLICATOR_ADDRESS points."""
    fake = FakeDaemon()
    loop = asyncio.new_event_loop()
    listening: list[int] = []
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        server = RpcServer(fake, fake.audit, host="127.0.0.1", state_dir=fake.state_dir, port=0)
        listening.append(await server.start())
        started.set()
        await stop.wait()
        await server.stop(0.1)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    monkeypatch.setenv("REPLICATOR_ADDRESS", f"127.0.0.1:{listening[0]}")
    yield fake
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""

    def run_words(*words: str) -> Result:
        with pytest.raises(SystemExit) as ended:
            main(words)
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, out, err)

    return run_words


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make rich believe in a colourless terminal of so many columns."""

    def set_columns(columns: int) -> None:
        for name, value in (("COLUMNS", str(columns)), ("FORCE_COLOR", "1"), ("NO_COLOR", "1")):
            monkeypatch.setenv(name, value)

    return set_columns
