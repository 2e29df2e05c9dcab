"""What stands in topics, stores and files, as fuzz targets."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from replicator.config.load import load
from replicator.config.mm2.convert import convert
from replicator.config.mm2.properties import read as read_properties
from replicator.config.yaml.mistakes import Mistakes
from replicator.config.yaml.positions import parse as parse_yaml
from replicator.core.acl import audit_chain
from replicator.core.offsets.offset_map import Block, OffsetPair, unpack, unpack_runs
from replicator.core.work import lease
from replicator.engine.copy.partitions import live_maps as maps
from replicator.engine.state import cuts
from replicator.engine.state import groups as group_records
from replicator.engine.state import journal as switch_records
from replicator.engine.state import records as state
from replicator.engine.state.topic import chunks as state_parts
from replicator.engine.state.topic.index import StateRecords, parse_key
from replicator.engine.work import coordinator
from replicator.errors import BugError, CorruptRecords, ReplicatorError
from replicator.model.lease import Versioned
from replicator.model.names import TopicPartition

_UID = "0" * 32
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of ours is made in it


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
            runs = unpack_runs(OffsetPair(0, 0), packed)
        except CorruptRecords:
            continue
        unpack(
            Block(
                OffsetPair(0, 0),
                OffsetPair(runs[-1].source_end, runs[-1].target_end) if runs else OffsetPair(0, 0),
                packed,
            )
        )


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
