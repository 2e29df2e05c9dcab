"""HTTP endpoints of a daemon: /metrics, /healthz, /readyz, /status and /flows/{name}/healthy.

All of them only read. They run on the daemon's own event loop, so /healthz answering is the proof that it turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from replicator.core.health import beside, unhealthy_because
from replicator.errors import ReplicatorError, UsageError
from replicator.model.groups import GroupStatus
from replicator.model.status import to_json
from replicator.model.units import format_address, parse_duration
from replicator.obs.metrics import CONTENT_TYPE, render
from replicator.rpc.port import ControlPort, find_flow

_CONNECTIONS_MAX = 64
_ORDERS = "this is about copying alone: the daemon takes orders, a failover too; route them by /healthz"
_KEEP_ALIVE_SECONDS = 5
_GRACE_SECONDS = 2
_BACKLOG = 64


def app(control: ControlPort) -> Starlette:
    """Return the ASGI application over a daemon."""

    def metrics(_: Request) -> Response:
        return Response(render(control.snapshot, partial(_groups_of, control)), media_type=CONTENT_TYPE)

    def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    def readyz(_: Request) -> Response:
        status = control.snapshot()
        verdict = "ready" if status.ready else status.not_ready_because or "starting"
        told = [f"{flow.flow}: {why}" for flow in status.flows for why in beside(flow) if why not in verdict]
        if not status.ready:
            told.append(_ORDERS)
        return PlainTextResponse("\n".join([verdict, *told]) + "\n", status_code=200 if status.ready else 503)

    def status(_: Request) -> Response:
        return JSONResponse(to_json(control.snapshot()))

    def healthy(request: Request) -> Response:
        try:
            flow = find_flow(control.snapshot(), request.path_params["name"])
        except UsageError as error:
            return JSONResponse({"error": error.what, "next": error.next_step}, status_code=404)
        try:
            limit = request.query_params.get("rpo")
            because = unhealthy_because(flow, None if limit is None else parse_duration(limit))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        body = {
            "flow": flow.flow,
            "healthy": because is None,
            "because": because,
            "rpo_seconds": flow.rpo_seconds,
        }
        return JSONResponse(body, status_code=200 if because is None else 503)

    return Starlette(
        routes=[
            _get("/metrics", metrics),
            _get("/healthz", healthz),
            _get("/readyz", readyz),
            _get("/status", status),
            _get("/flows/{name}/healthy", healthy),
        ]
    )


def _groups_of(control: ControlPort, flow: str) -> Sequence[GroupStatus]:
    try:
        return control.groups(flow)[0]
    except ReplicatorError:  # it is not up, or was stopped since the snapshot was taken: nothing is known
        return ()


async def serve(
    host: str,
    port: int,
    control: ControlPort,
    stop: asyncio.Event,
    listening: Callable[[int], None] = lambda _: None,
) -> None:
    """Serve until `stop` is set; `listening` is told the port, which the system chose if 0 was asked for.

    Raises:
        ReplicatorError: The address cannot be listened on.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        app(control),
        log_config=None,
        access_log=False,
        lifespan="off",
        http="h11",
        ws="none",
        loop="none",
        server_header=False,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _Server(config)
    with listener:
        listening(listener.getsockname()[1])
        ending = asyncio.create_task(_end(server, stop))
        try:
            await server.serve(sockets=[listener])
        finally:
            ending.cancel()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the daemon has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def _end(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    # uvicorn ends the whole process when it cannot bind, so the socket is ours.
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ReplicatorError(
            f"cannot listen on {format_address((host, port))} for http",
            why=error.strerror or str(error),
            next_step="stop the other process, or change daemon.http",
        ) from error


def _get(path: str, answer: Callable[[Request], Response]) -> Route:
    """Return a GET route whose handler runs on the event loop, not in a thread as starlette does with `def`."""

    async def endpoint(request: Request) -> Response:
        return answer(request)

    return Route(path, endpoint, methods=["GET"])
