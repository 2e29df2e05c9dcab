"""Which neighbouring batches of one fetch response are merged: small ones, which cost more than they carry.

A target accepts one batch per partition per request and five requests at a time, and examines each batch: tiny batches
limit a partition's throughput and cost the target's broker many times the CPU. Nothing waits for a neighbour: a
response with one batch passes as it is, so a flow that keeps up is no slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from replicator.model.batch import COMPRESSION_MASK, LENGTH_PREFIX_BYTES

if TYPE_CHECKING:
    from replicator.core.copy.reading.pieces import Passes

SMALL_BYTES = 6 << 10
"""Above this, moving the records costs more CPU than the batch does on both sides together (benchmarks/RESULTS.md)."""
SMALL_BYTES_FAR = 32 << 10
"""The same where the round trip, not CPU, limits a partition: five batches of this size per round trip."""
FAR_SECONDS = 0.05
MERGED_BYTES_MAX = 256 << 10
"""Larger ones gain nothing more, and partitions share requests of 1 MiB."""
SPREAD_MS_MAX = 600_000
"""A target ages its memory of us by the newest time in the last batch. A second daemon that read the batches one by one
may write the first of them, an old one, as unguarded work. If our merged batch, which ends with a new one, counted as
guarded, the broker would accept both (found by the simulation). Ten minutes are far below the hour by which the guard
is shorter than that memory: what counts as guarded is remembered, however the batches are divided."""

_RECORDS_MAX = {0: 20, 1: 1, 2: 12, 3: 6, 4: 8}
"""By codec: none, gzip, snappy, lz4, zstd. A record costs time to move, a compressed one more."""
_RECORDS_MAX_FAR = {codec: 50 * records for codec, records in _RECORDS_MAX.items()}
_GROWTH_MAX = 4
"""A record of 7 bytes may take 19 in its new place."""


class Group(NamedTuple):
    """Batches that follow each other, and whether to merge them into one."""

    passes: Passes
    merged: bool


def is_far(outstanding: int, answer_seconds: float) -> bool:
    """Return whether a partition waits for a distant target.

    Args:
        outstanding: Produce requests in flight.
        answer_seconds: How long the last response took.
    """
    return outstanding > 0 and answer_seconds >= FAR_SECONDS


def groups(passes: Passes, batch_bytes_max: int, *, far: bool = False) -> list[Group]:
    """Divide batches that pass, in order, into those to merge and those to leave alone.

    Args:
        passes: Batches at consecutive offsets.
        batch_bytes_max: What the target's topic accepts.
        far: See `is_far`.
    """
    small, records_max = (SMALL_BYTES_FAR, _RECORDS_MAX_FAR) if far else (SMALL_BYTES, _RECORDS_MAX)
    bytes_max = min(MERGED_BYTES_MAX, batch_bytes_max // _GROWTH_MAX)
    found: list[Group] = []
    plain: Passes = []
    group: Passes = []
    size = group_codec = first_ms = 0
    for each in passes:
        header = each[0]
        codec = header[5] & COMPRESSION_MASK
        if header[1] >= small or header[12] > records_max.get(codec, 0):
            if group:
                plain, group = _close(found, plain, group), []
            plain.append(each)
            continue
        size += LENGTH_PREFIX_BYTES + header[1]
        mixed = codec != group_codec and codec and group_codec
        if group and (size > bytes_max or mixed or abs(header[8] - first_ms) > SPREAD_MS_MAX):
            plain, group = _close(found, plain, group), []
        if not group:
            size, group_codec, first_ms = LENGTH_PREFIX_BYTES + header[1], codec, header[8]
        group.append(each)
        group_codec = group_codec or codec  # clients do not compress what would not shrink, such as one short record
    if group:
        plain = _close(found, plain, group)
    if plain:
        found.append(Group(plain, merged=False))
    return found


def _close(found: list[Group], plain: Passes, group: Passes) -> Passes:
    """End a group of small batches; return the batches left alone so far: one small batch alone cannot be merged."""
    if len(group) == 1:
        plain += group
        return plain
    if plain:
        found.append(Group(plain, merged=False))
    found.append(Group(group, merged=True))
    return []
