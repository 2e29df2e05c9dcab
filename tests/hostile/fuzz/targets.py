"""Every decoder of bytes that others wrote, as a function of bytes: it understands them or refuses them by an error.

What else it raises is a finding, and so is an answer that cannot be.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import replicator
from replicator.config.load import load
from replicator.config.mistakes import Mistakes
from replicator.config.mm2.convert import convert
from replicator.config.mm2.properties import read as read_properties
from replicator.config.yaml_positions import parse as parse_yaml
from replicator.core.acl import audit_chain
from replicator.core.acl.certificate_names import names_in, names_in_pem
from replicator.core.acl.granting import granting, known
from replicator.core.copy.doubt import Edges, judge, sound_length
from replicator.core.copy.intake import Intake
from replicator.core.copy.pieces import Given
from replicator.core.copy.values import TargetLimits
from replicator.core.offsets.offset_map import Block, Place, unpack, unpack_runs
from replicator.core.work import lease, lease_calls
from replicator.engine.copy import live_maps as maps
from replicator.engine.state import chunks as state_parts
from replicator.engine.state import cuts
from replicator.engine.state import groups as group_records
from replicator.engine.state import journal as switch_records
from replicator.engine.state import records as state
from replicator.engine.state.index import StateRecords, parse_key
from replicator.engine.work import coordinator
from replicator.errors import BugError, CorruptRecords, ReplicatorError
from replicator.model.access_rules import AccessRole, AccessRule
from replicator.model.batch import BatchHeader
from replicator.model.lease import LeaseTable, Versioned
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.model.text import printable, said
from replicator.model.units import parse_address, parse_duration, parse_size
from replicator.rpc import convert as convert_rpc
from replicator.rpc import convert_orders, faults
from replicator.rpc.v1 import control_pb2, lease_pb2
from replicator.web.http import app
from replicator.wire import decode
from replicator.wire.batches import recode, records
from replicator.wire.batches.batch import prove, scan
from replicator.wire.batches.inflate import inflate
from replicator.wire.batches.inflate_pieces import expands_beyond, inflate_pieces
from replicator.wire.batches.row_headers import shown
from replicator.wire.batches.rows import rows_of
from replicator.wire.frames import Frame
from replicator.wire.messages.fetch import FetchSession
from replicator.wire.messages.produce import ProduceCodec
from replicator.wire.metadata import check_metadata
from replicator.wire.versions import FETCH_BY_ID, FETCH_BY_NAME, PRODUCE_BY_ID, PRODUCE_BY_NAME
from tests.hostile.broker import HostileBroker
from tests.hostile.fuzz.keeping import CORPUS
from tests.hostile.middle import with_checksum
from tests.unit.rpc.fake_daemon import FakeDaemon

Decoder = Callable[[bytes], None]

_TOPIC_IDS = {"orders": bytes(range(16))}
_OPENED_BYTES_MAX = 1 << 16
_UID = "0" * 32
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of ours is made in it


def refused_or_understood(decoder: Decoder, raw: bytes) -> None:
    """Decode; errors of ours are what has to come of nonsense, except for those that tell of a bug."""
    try:
        decoder(raw)
    except BugError:
        raise
    except ReplicatorError:
        return


# -- Kafka ------------------------------------------------------------------------------------------------------------


@cache
def kinds() -> tuple[type[Any], ...]:
    """Return every type of answer that the project imports, so that a new one is fuzzed unasked."""
    found: set[tuple[str, str]] = set()
    for path in Path(replicator.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kio.schema."):
                found |= {(node.module or "", one.name) for one in node.names if one.name.endswith("Response")}
    return tuple(getattr(importlib.import_module(module), name) for module, name in sorted(found))


def answers(raw: bytes) -> None:
    """Any answer but those to Fetch and Produce; the first byte chooses which."""
    if not raw:
        return
    kind = kinds()[raw[0] % len(kinds())]
    answer: Any = decode.read_whole(memoryview(b"\x00\x00\x00\x01" + raw[1:]), kind)
    if kind.__name__ == "MetadataResponse":
        check_metadata(HostileBroker().spec(), answer)


def fetch(raw: bytes) -> None:
    """A fetch answer, in a frame that held a longer one before, and the batches in it."""
    version = FETCH_BY_ID if raw[:1] > b"\x7f" else FETCH_BY_NAME
    session = FetchSession(version, Isolation.READ_UNCOMMITTED, _TOPIC_IDS)
    session._topic("orders")
    buffer = bytearray(b"\x00\x00\x00\x01" + raw[1:])
    size = len(buffer)
    for one in session.answer(buffer + b"\x01" * 64, size)[1]:
        assert 0 <= one.start <= one.end <= size
        for header in scan(buffer, one.start, one.end):
            assert one.start <= header.start < header.end <= one.end


def produce(raw: bytes) -> None:
    """A produce answer: the short way may only see what the long one sees."""
    codec = ProduceCodec(PRODUCE_BY_ID if raw[:1] > b"\x7f" else PRODUCE_BY_NAME, _TOPIC_IDS, 1000)
    codec._topic("orders")
    frame = Frame(4 + len(raw))
    frame.reserve(4 + len(raw))
    frame.view[: frame.size] = b"\x00\x00\x00\x01" + raw
    usual = codec.accepted(frame)
    told = codec.answer(frame.buffer, frame.size)
    if usual is not None:
        seen = {(topic, row[0], row[2]) for topic, rows in usual.items() for row in rows}
        assert seen == {(one.where.topic, one.where.partition, one.base_offset) for one in told}
        assert not any(one.error for one in told)


def batches(raw: bytes) -> None:
    """A record set, whose first batch is given the right checksum where it is long enough for one."""
    frame = bytearray(raw)
    if len(frame) > 61 and frame[16] == 2:
        struct.pack_into(">i", frame, 8, len(frame) - 12)
        frame[:] = with_checksum(frame)
    view = memoryview(frame)
    headers = scan(frame, 0, len(frame))
    end = 0
    for header in headers:
        assert end <= header.start < header.end <= len(frame)
        end = header.end
    assert sound_length(headers) <= len(headers)
    judge(headers, 5, Edges(100, 3))
    given = Given(5, 0, 1, -1, edges=Edges(1000, 3))
    limits = TargetLimits(1 << 20, 0, fill_length_max=1000)
    intake = Intake(given, limits, (), lambda one: _opened(view, one), lambda one: prove(view, one))
    try:
        intake.take(headers)
    finally:
        assert intake.expected >= 5
    for header in headers:
        _opened(view, header)
        _as_rows(view, header, records.decode(view, header, bytes_max=_OPENED_BYTES_MAX))


def _as_rows(view: memoryview, header: BatchHeader, wanted: list[records.Record]) -> None:
    """Read as whoever compares reads: by another parser, which has to find the same."""
    if header.record_count == 0:
        return
    found = [row for rows, _ in rows_of(view, header, 0, chunk_records=3) for row in rows]
    assert found == [
        (one.offset, one.timestamp, one.key, one.value, [(shown(name), of) for name, of in one.headers] or None)
        for one in wanted
    ]


def _opened(view: memoryview, header: BatchHeader) -> list[recode.RawRecord]:
    opened = recode.open_batch(view, header, _OPENED_BYTES_MAX)
    if header.magic == 2:
        assert len(opened) == max(0, header.record_count)
        assert all(header.base_offset <= one.offset < header.next_offset for one in opened)
    return opened


def inflated(raw: bytes) -> None:
    """Compressed records: what comes of them is bounded, and the same in pieces."""
    if not raw:
        return
    codec, data = raw[0] % 6, memoryview(raw[1:])
    expands_beyond(codec, data, _OPENED_BYTES_MAX)
    whole = inflate(codec, data, _OPENED_BYTES_MAX)
    assert len(whole) <= _OPENED_BYTES_MAX
    assert b"".join(inflate_pieces(codec, data)) == bytes(whole)


# -- what stands in topics, stores and files --------------------------------------------------------------------------


def state_records(raw: bytes) -> None:
    """The same bytes as a record of each kind, and as a key."""
    parse_key(raw)
    note = state_parts.note_of(raw)
    if note is not None:
        state_parts.joined(b"key", note, {})
    found = StateRecords(dict.fromkeys(_KEYS, raw))  # once: the index costs more than all that is read from it
    for read in _READS:
        try:
            read(found)
        except BugError:
            raise
        except ReplicatorError:
            continue


_KEYS = (
    state.flow_key(_UID),
    state.writer_key(_UID),
    state.writer_key(_UID, "orders"),
    state.claim_key(_UID, 0),
    state.renewal_key(_UID, 0),
    state.presence_key(_UID, "daemon", 0),
    state.mirror_key(_UID, "orders"),
    state.source_end_key(_UID, 0),
    state.segment_key(_UID, "orders", 0, 0),
    state.group_key(_UID, "billing"),
    state.start_key(_UID),
    switch_records.journal_key(_UID),
    switch_records.copy_key(_UID),
)


def _mirror(found: StateRecords) -> None:
    record = state.get_mirror(found, _UID, "orders")
    if record is None:
        return
    state.names_its_topic(record)
    for number, part in record.maps.items():
        maps.compared_from(part)
        maps.given_up_of(record, number)
        maps.recorded_map(found, _UID, TopicPartition("orders", number), part)


_READS: tuple[Callable[[StateRecords], object], ...] = (
    lambda found: state.get_flow(found, _UID),
    lambda found: list(state.every_flow(found)),
    lambda found: state.find_flow(found, "flow", "a", "b"),
    lambda found: state.get_writer(found, _UID),
    lambda found: state.writers_of(found, _UID),
    lambda found: state.own_writers(found, _UID),
    state.check_writers,
    lambda found: state.get_claim(found, _UID, 0),
    lambda found: state.get_renewal(found, _UID, 0),
    lambda found: state.signs_of(found, _UID),
    lambda found: list(state.mirrors_of(found, _UID)),
    lambda found: list(state.readable_mirrors_of(found, _UID)),
    lambda found: list(state.every_mirror(found)),
    _mirror,
    lambda found: state.source_end_block(found, state.source_end_key(_UID, 0)),
    lambda found: list(state.segments_of(found, _UID, "orders", 0)),
    lambda found: group_records.unpacked(b"", found[state.group_key(_UID, "billing")]),
    lambda found: state.foreign_owners(found, _UID),
    state.producer_ids,
    lambda found: state.copied_from(found, "a", {"orders": b"1"}),
    lambda found: switch_records.switches_of(found, _UID),
    lambda found: switch_records.copy_of(found, _UID),
    lambda found: cuts.cuts_of(found, _UID, ["orders"]),
    lambda found: switch_records.lost_left_out(found, _UID),
)


def offset_maps(raw: bytes) -> None:
    """A block of an offset map, as it is and packed."""
    for packed in (raw, zlib.compress(raw)):
        try:
            runs = unpack_runs(Place(0, 0), packed)
        except CorruptRecords:
            continue
        unpack(Block(Place(0, 0), Place(runs[-1].source_end, runs[-1].target_end) if runs else Place(0, 0), packed))


def leases(raw: bytes) -> None:
    """What a store gives a coordinator, and what follows from it."""
    stored = Versioned(raw, 1)
    try:
        coordinator._binding(_UID, stored)
    except BugError:
        raise
    except ReplicatorError:
        pass
    table = coordinator._parse(_UID, stored)
    lease.balanced(lease.without_dead(table, {"daemon"}))


def audit(raw: bytes) -> None:
    """An audit log."""
    lines = raw.split(b"\n")
    for line in lines:
        entry = audit_chain.decode(line)
        if entry is not None:
            assert audit_chain.decode(audit_chain.encode(entry)[:-1]) == entry
    audit_chain.verify([audit_chain.Line(f"line {at}", line + b"\n") for at, line in enumerate(lines, 1)])


def flow_file(raw: bytes) -> None:
    """A flow file: any mistake is named, and none acts on a terminal."""
    parse_yaml(raw.decode(errors="replace"), "flow.yaml", Mistakes())
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as directory:
        path = Path(directory) / "flow.yaml"
        path.write_bytes(raw)
        path.chmod(0o600)
        load(path, {"HOST": "east:9092"})


def mirror_maker(raw: bytes) -> None:
    """The properties of a MirrorMaker 2."""
    read_properties(raw, "mm2.properties", Mistakes())
    convert(raw, "mm2.properties")


# -- who calls --------------------------------------------------------------------------------------------------------

_MESSAGES: tuple[tuple[Any, Callable[[Any], object]], ...] = (
    (control_pb2.ResolveMirrorRequest, lambda told: convert_orders.resolve_request_from_wire(told).order("somebody")),
    (control_pb2.DaemonStatus, convert_rpc.status_from_wire),
    (control_pb2.Event, convert_rpc.event_from_wire),
    (control_pb2.OffsetQuestion, convert_rpc.question_from_wire),
    (control_pb2.Translation, convert_rpc.translation_from_wire),
    (control_pb2.GroupStatus, convert_rpc.group_from_wire),
    (control_pb2.AuditEntry, convert_rpc.audit_from_wire),
    (control_pb2.RehearseResponse, convert_rpc.report_from_wire),
    (control_pb2.ResolveMirrorResponse, convert_orders.resolution_from_wire),
    (control_pb2.ForgetResponse, convert_orders.forgotten_from_wire),
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
        table = lease.joined(LeaseTable(_UID, "flow"), taken)  # type: ignore[arg-type]
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


TARGETS: dict[str, Decoder] = {
    "answers": answers,
    "fetch": fetch,
    "produce": produce,
    "batches": batches,
    "inflate": inflated,
    "state": state_records,
    "maps": offset_maps,
    "leases": leases,
    "audit": audit,
    "flow_file": flow_file,
    "mm2": mirror_maker,
    "messages": messages,
    "names": names,
    "words": words,
    "http": http,
}


def kept(target: str) -> Iterator[bytes]:
    """Yield what is kept of a target's findings and ways in."""
    for path in sorted((CORPUS / target).glob("*")):
        yield path.read_bytes()
