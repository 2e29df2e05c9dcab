"""HTTP endpoints of a daemon: /metrics, /healthz, /readyz, /status and /flows/{name}/healthy.

They all only read. They run on the daemon's own event loop, so an answer from /healthz proves that it is running.
`gate` decides who may see what, `connections` how many may call at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from replicator.control.access import only
from replicator.control.port import ControlPort, find_flow
from replicator.control.refusals import Why
from replicator.core.status.health import beside, unhealthy_because
from replicator.errors import ReplicatorError, UsageError
from replicator.model.status.groups import GroupStatus
from replicator.model.status.snapshots import DaemonStatus, to_json
from replicator.model.units import format_address, parse_duration
from replicator.obs.metrics import CONTENT_TYPE, render
from replicator.web.certificates import Certificates
from replicator.web.connections import Connection, Room
from replicator.web.gate import Gate

_ORDERS = "this is about copying only: the daemon still accepts orders, even a failover; route those by /healthz"
_KEEP_ALIVE_SECONDS = 5
_GRACE_SECONDS = 2
_BACKLOG = 64


def app(control: ControlPort, gate: Gate | None = None) -> Starlette:
    """Return the ASGI application of a daemon; without a gate everybody sees everything, under loopback names."""
    gate = Gate() if gate is None else gate
    pages = _Pages(control, gate)
    return Starlette(
        routes=[
            _get("/metrics", pages.metrics, gate),
            _get("/healthz", pages.healthz, gate),
            _get("/readyz", pages.readyz, gate),
            _get("/status", pages.status, gate),
            _get("/flows/{name}/healthy", pages.healthy, gate),
        ]
    )


class _Pages:
    """The pages, limited to what a caller may see."""

    def __init__(self, control: ControlPort, gate: Gate) -> None:
        self._control = control
        self._gate = gate

    async def _seen(self, request: Request) -> DaemonStatus:
        return only(await self._control.snapshot(), self._gate.sees(request))

    async def metrics(self, request: Request) -> Response:
        """Answer with the metrics."""
        refused = {str(why): self._gate.refusals.counts[why] for why in Why}  # from 0 on, so the first is a rise
        shown = await self._seen(request)
        groups = {flow.flow: _groups_of(self._control, flow.flow) for flow in shown.flows if not flow.remote}
        # For 10,000 partitions the text takes a second, so it is made in a thread, from a frozen snapshot.
        text = await asyncio.to_thread(render, shown, groups, refused)
        return Response(text, media_type=CONTENT_TYPE)

    async def healthz(self, _: Request) -> Response:
        """Answer that the process is alive."""
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request) -> Response:
        """Answer whether all flows are up."""
        return _readiness(await self._seen(request), reasons=self._gate.shows_reasons(request))

    async def status(self, request: Request) -> Response:
        """Answer with the status of all flows."""
        shown = await self._seen(request)
        return await asyncio.to_thread(lambda: JSONResponse(to_json(shown)))

    async def healthy(self, request: Request) -> Response:
        """Answer whether one flow copies, and within an RPO if the caller gives one."""
        try:
            flow = find_flow(await self._seen(request), request.path_params["name"])
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


def _readiness(status: DaemonStatus, *, reasons: bool) -> Response:
    """Return whether the daemon is ready; with `reasons` also why, and what its flows report."""
    code = 200 if status.ready else 503
    if not reasons:
        return PlainTextResponse("ready\n" if status.ready else "not ready\n", code)
    verdict = "ready" if status.ready else status.not_ready_because or "starting"
    lines = [f"{flow.flow}: {why}" for flow in status.flows for why in beside(flow) if why not in verdict]
    if not status.ready:
        lines.append(_ORDERS)
    return PlainTextResponse("\n".join([verdict, *lines]) + "\n", status_code=code)


def _groups_of(control: ControlPort, flow: str) -> Sequence[GroupStatus]:
    try:
        return control.groups(flow)[0]
    except ReplicatorError:  # it is not up, or was stopped after the snapshot: nothing is known
        return ()


async def serve(
    host: str,
    port: int,
    control: ControlPort,
    stop: asyncio.Event,
    listening: Callable[[int], None] = lambda _: None,
    gate: Gate | None = None,
) -> None:
    """Serve until `stop` is set; `listening` is called with the port, which the system chooses if it is given as 0.

    Raises:
        ConfigError: The certificates cannot be used.
        ReplicatorError: It cannot listen on the address.
    """
    tls = Certificates(gate.tls) if gate is not None and gate.tls is not None else None
    listener = _listen(host, port)
    config = uvicorn.Config(
        app(control, gate),
        log_config=None,
        access_log=False,
        lifespan="off",
        http=type("Served", (Connection,), {"room": Room()}),
        ws="none",
        loop="none",
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    config.load()
    config.ssl = tls.context if tls is not None else None
    server = _Server(config)
    with listener:
        listening(listener.getsockname()[1])
        beside = [asyncio.create_task(_end(server, stop))]
        if tls is not None:
            beside.append(asyncio.create_task(tls.follow()))
        try:
            await server.serve(sockets=[listener])
        finally:
            for task in beside:
                task.cancel()


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
            f"cannot listen on {format_address((host, port))} for HTTP",
            why=error.strerror or str(error),
            next_step="stop the other process, or change daemon.http",
        ) from error


def _get(path: str, answer: Callable[[Request], Awaitable[Response]], gate: Gate) -> Route:
    """Return a GET route whose handler runs unless the request is refused."""

    async def endpoint(request: Request) -> Response:
        refusal = gate.refusal(request, path)
        return await answer(request) if refusal is None else refusal

    return Route(path, endpoint, methods=["GET"])
