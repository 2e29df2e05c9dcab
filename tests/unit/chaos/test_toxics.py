"""The wrapper asks Toxiproxy's interface as documented, never waits for long, and takes no failure for a success."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from chaos import toxics
from chaos.errors import ChaosError
from chaos.toxics import Toxics, answers


class _Fake(ThreadingHTTPServer):
    """Answers every call with `status`, after `seconds`, and remembers the calls."""

    daemon_threads = True
    status = 200
    seconds = 0.0
    answer: object = ()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[tuple[str, str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Fake

    def _call(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.calls.append((self.command, self.path, json.loads(body) if body else None))
        time.sleep(self.server.seconds)
        content = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _call  # noqa: N815 - the names http.server calls

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[_Fake]:
    """A server on loopback."""
    with _Fake() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.shutdown()
        thread.join(5)


def test_calls_are_toxiproxys(server: _Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths and bodies as its documentation has them; a proxy set for the web is not asked."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.answer = [{"name": "late"}]
    made = Toxics(server.server_port)

    made.add_proxy("target-1", 5001, 5000)
    made.add("target-1", "late", "latency", upstream=True, attributes={"latency": 50})
    assert made.names("target-1") == ["late"]
    made.remove("target-1", "late")

    ends = {"listen": "127.0.0.1:5001", "upstream": "127.0.0.1:5000", "name": "target-1", "enabled": True}
    toxic = {"name": "late", "type": "latency", "stream": "upstream", "toxicity": 1.0, "attributes": {"latency": 50}}
    assert server.calls == [
        ("POST", "/proxies", ends),
        ("POST", "/proxies/target-1/toxics", toxic),
        ("GET", "/proxies/target-1/toxics", None),
        ("DELETE", "/proxies/target-1/toxics/late", None),
    ]


@pytest.mark.parametrize("status", [400, 404, 409, 500])
def test_a_refusal_is_an_error(server: _Fake, status: int) -> None:
    """Also those that the library lets pass."""
    server.status = status

    with pytest.raises(ChaosError, match="delete /proxies/a/toxics/b failed"):
        Toxics(server.server_port).remove("a", "b")


def test_waits_are_bounded(server: _Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is an error, soon."""
    monkeypatch.setitem(toxics._PLAIN, "timeout", 0.1)
    server.seconds = 1.0

    with pytest.raises(ChaosError, match="timed out"):
        Toxics(server.server_port).remove("a", "b")


def test_nobody_there(server: _Fake) -> None:
    """A port without a listener is no server."""
    assert answers(server.server_port)
    assert not answers(1)
