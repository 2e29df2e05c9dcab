"""Which neighbours among the batches of one answer are merged into one: small ones, which cost more than they carry.

A target takes one batch per partition per request and five requests at a time, and looks at each batch: tiny batches
cap what a partition can carry and cost the target's broker many times the CPU. Neighbours wait for nothing: an answer
with one batch passes as it is, so a flow that keeps up is as quick as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from replicator.model.batch import COMPRESSION_MASK, LENGTH_PREFIX_BYTES

if TYPE_CHECKING:
    from replicator.core.intake import Passes

SMALL_BYTES = 32 << 10
MERGED_BYTES_MAX = 256 << 10
"""Larger ones gain nothing more (benchmarks/RESULTS.md), and partitions share requests of 1 MiB."""
SPREAD_MS_MAX = 600_000
"""A target ages its memory of us by the newest time in the latest batch. A second daemon that got the batches one by
one may write the first of them, an old one, as unguarded work; were ours, with a new one behind it, called guarded,
both would be taken (found by the simulation). Ten minutes are far below the hour by which the guard is shorter than
that memory: what is called guarded is remembered, however the batches are divided."""

_RECORDS_MAX = {0: 32, 1: 1, 2: 16, 3: 6, 4: 12}
"""By codec: none, gzip, snappy, lz4, zstd. A record costs time to move, a compressed one more; a batch less is worth
some 20 microseconds of both sides' CPU. Above, merging would cost more than it saves."""
_GROWTH_MAX = 4
"""A record of 7 bytes may take 19 in its new place."""


class Run(NamedTuple):
    """Batches that follow each other, and whether to make one of them."""

    passes: Passes
    merged: bool


def runs(passes: Passes, batch_bytes_max: int) -> list[Run]:
    """Divide batches that pass, in order, into those to merge and those to leave alone.

    Args:
        passes: Batches at consecutive offsets.
        batch_bytes_max: What the target's topic takes.
    """
    bytes_max = min(MERGED_BYTES_MAX, batch_bytes_max // _GROWTH_MAX)
    found: list[Run] = []
    plain: Passes = []
    run: Passes = []
    size = run_codec = first_ms = 0
    for each in passes:
        header = each[0]
        codec = header[5] & COMPRESSION_MASK
        if header[1] >= SMALL_BYTES or header[12] > _RECORDS_MAX.get(codec, 0):
            if run:
                plain, run = _close(found, plain, run), []
            plain.append(each)
            continue
        size += LENGTH_PREFIX_BYTES + header[1]
        mixed = codec != run_codec and codec and run_codec
        if run and (size > bytes_max or mixed or abs(header[8] - first_ms) > SPREAD_MS_MAX):
            plain, run = _close(found, plain, run), []
        if not run:
            size, run_codec, first_ms = LENGTH_PREFIX_BYTES + header[1], codec, header[8]
        run.append(each)
        run_codec = run_codec or codec  # clients leave uncompressed what does not shrink, such as one short record
    if run:
        plain = _close(found, plain, run)
    if plain:
        found.append(Run(plain, merged=False))
    return found


def _close(found: list[Run], plain: Passes, run: Passes) -> Passes:
    """End a run of small batches; return what is left alone so far: one small batch has nothing to be merged with."""
    if len(run) == 1:
        plain += run
        return plain
    if plain:
        found.append(Run(plain, merged=False))
    found.append(Run(run, merged=True))
    return []
