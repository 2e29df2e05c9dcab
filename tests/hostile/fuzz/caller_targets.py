"""What callers send, as fuzz targets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from replicator.core.acl.certificate_names import names_in, names_in_pem
from replicator.core.acl.granting import granting, known
from replicator.core.work import lease, lease_calls
from replicator.model.access_rules import AccessRole, AccessRule
from replicator.model.lease import LeaseTable
from replicator.model.text import printable, said
from replicator.model.units import parse_address, parse_duration, parse_size
from replicator.rpc.convert import faults, orders
from replicator.rpc.convert import values as convert_rpc
from replicator.rpc.v1 import control_pb2, lease_pb2
from replicator.web.http import app
from tests.unit.rpc.fake_daemon import FakeDaemon

_MESSAGES: tuple[tuple[Any, Callable[[Any], object]], ...] = (
    (control_pb2.ResolveMirrorRequest, lambda told: orders.resolve_request_from_wire(told).order("somebody")),
    (control_pb2.DaemonStatus, convert_rpc.status_from_wire),
    (control_pb2.Event, convert_rpc.event_from_wire),
    (control_pb2.OffsetQuestion, convert_rpc.question_from_wire),
    (control_pb2.Translation, convert_rpc.translation_from_wire),
    (control_pb2.GroupStatus, convert_rpc.group_from_wire),
    (control_pb2.AuditEntry, convert_rpc.audit_from_wire),
    (control_pb2.RehearseResponse, convert_rpc.report_from_wire),
    (control_pb2.ResolveMirrorResponse, orders.resolution_from_wire),
    (control_pb2.ForgetResponse, orders.forgotten_from_wire),
    (lease_pb2.LeaseRequest, convert_rpc.caller_from_wire),
    (lease_pb2.LeaseAnswer, convert_rpc.lease_answer_from_wire),
)


def messages(raw: bytes) -> None:
    """A gRPC message, from a caller or from a daemon; the first byte chooses which."""
    if not raw:
        return
    faults.from_wire(raw[1:])
    kind, take = _MESSAGES[raw[0] % len(_MESSAGES)]
    try:
        told = kind.FromString(raw[1:])
    except Exception as error:
        if type(error).__name__ == "DecodeError":
            return
        raise
    taken = take(told)
    if kind is lease_pb2.LeaseRequest:
        lease_calls.check(taken)  # type: ignore[arg-type]
        table = lease.joined(LeaseTable("0" * 32, "flow"), taken)  # type: ignore[arg-type]
        lease.balanced(lease.acquired(table, taken))  # type: ignore[arg-type]


def names(raw: bytes) -> None:
    """A certificate, in its two encodings, under rules that name some of them."""
    found = (*names_in(raw), *names_in_pem(raw))
    rules = [AccessRule(pattern, (AccessRole.OPERATE,)) for pattern in ("dns:ops.example", "cn:a*")]
    known(rules, found)
    right = granting(rules, found, AccessRole.OPERATE, "flow")
    assert right is None or str(right).startswith(("dns:ops.example", "cn:a"))
    assert all(str(one).isprintable() for one in found)


def words(raw: bytes) -> None:
    """Sizes, durations, addresses, and words of others on a terminal."""
    text = raw.decode(errors="replace")
    for parse in (parse_size, parse_duration, parse_address):
        try:
            parse(text)
        except ValueError:
            continue
    assert printable(text).isprintable()
    assert said(text).isprintable()


_loop = asyncio.new_event_loop()


def http(raw: bytes) -> None:
    """The head of a request, behind what splits it: path, query and header fields as they came."""
    lines = raw.split(b"\n")
    path, _, query = lines[0].partition(b"?")
    headers = [(line.partition(b":")[0].lower(), line.partition(b":")[2].strip()) for line in lines[1:]]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/" + path.decode(errors="replace"),
        "raw_path": b"/" + path,
        "query_string": query,
        "headers": headers,
        "server": ("127.0.0.1", 8480),
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    _loop.run_until_complete(app(FakeDaemon())(scope, receive, send))  # type: ignore[arg-type] # a scope is a dict
    assert told[0]["status"] in {200, 307, 400, 404, 405, 421, 503}
