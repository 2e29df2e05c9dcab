"""The corpora: topics of JSON-like records in batches of a known size.

The records compress like real ones (lz4 about 2 : 1, zstd about 3.3 : 1) and carry current times: a batch of old
records takes another path through the replicator (DESIGN.md: Unguarded work).
"""

from __future__ import annotations

import json
import math
import random
import string
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import Producer

from benchmarks.measure import GIGABYTE

PARTITIONS = 12

_POOL_RECORDS = 8000
"""Different records in a corpus. More than any batch holds, so repeats are out of the compressor's sight."""

_QUEUED_BYTES_MAX = 256 << 20
_BATCHES_PER_ROUND = 4
_ENVELOPE_BYTES = 9
"""What a record of a batch adds to its value: lengths, deltas, no key, no headers."""

_BATCH_HEADER_BYTES = 61
_BATCH_ROOM_BYTES = _BATCH_HEADER_BYTES + 64
"""The batch's header, and the most that librdkafka expects a record to add while it decides whether that fits."""

_FIT = 1.02
"""Room for the envelopes: four records of 1 KB are a batch of "4 KiB", not three."""

_RATIO = {"none": 1.0, "lz4": 2.13, "zstd": 3.2}
"""Batch bytes before and after compression, for these records; measured."""

_SHORT_RECORD_BYTES = 300
_ITEM_BYTES = 55
_TYPES = ("order.created", "order.paid", "order.shipped")
_CITIES = ("Berlin", "Lagos", "Osaka", "Lima", "Austin", "Pune", "Oslo", "Quito", "Perth", "Izmir")
_TAGS = ("red", "blue", "green", "new", "sale")

Codec = Literal["none", "lz4", "zstd"]


@dataclass(frozen=True, slots=True)
class Corpus:
    """One source topic.

    Attributes:
        record_bytes: Size of a record's value.
        codec: How its producer compresses.
        batch_kib: Size of a batch on the wire, in KiB, about.
        gigabytes: Size on the wire at scale 1, in 10^9 bytes, about.
        batch_records: Records in a batch where that, not a size, ends it; else 0.
        append_time: Whether the source's broker sets the times, so that every batch is encoded anew.
    """

    record_bytes: int
    codec: Codec
    batch_kib: int
    gigabytes: float
    batch_records: int = 0
    append_time: bool = False

    @property
    def name(self) -> str:
        """What tables and options call it, such as ``1k-none-64k``."""
        size = "1k" if self.record_bytes > _SHORT_RECORD_BYTES else f"{self.record_bytes}b"
        batch = f"{self.batch_records}r" if self.batch_records else f"{self.batch_kib}k"
        return f"{size}-{self.codec}-{batch}{'-append' if self.append_time else ''}"

    @property
    def topic(self) -> str:
        """The source topic."""
        return f"bench.{self.name}"

    @property
    def topic_config(self) -> dict[str, str]:
        """What its topic needs."""
        return {"message.timestamp.type": "LogAppendTime"} if self.append_time else {}

    @property
    def compressed(self) -> bool:
        """Whether its batches are."""
        return self.codec != "none"


LARGE_BATCHES = Corpus(100, "none", 64, 2.0)
SINGLE_RECORDS = Corpus(100, "none", 64, 0.25, batch_records=1)
"""Batches of one record, which are merged: the worst case of what a producer does."""
ENCODED_ANEW = Corpus(100, "none", 64, 1.0, batch_records=200, append_time=True)


def _all_corpora() -> dict[str, Corpus]:
    """Return every combination. Smaller ones where a GB takes long: to write (small records, zstd) or to copy."""
    found = {}
    for record_bytes in (1024, 100):
        for codec in ("none", "lz4", "zstd"):
            for batch_kib in (64, 16, 4):
                gigabytes = 4.0 if record_bytes > _SHORT_RECORD_BYTES else 2.0
                gigabytes /= {"none": 1, "lz4": 2, "zstd": 4}[codec] * {64: 1, 16: 2, 4: 4}[batch_kib]
                corpus = Corpus(record_bytes, codec, batch_kib, gigabytes)
                found[corpus.name] = corpus
    for corpus in (SINGLE_RECORDS, ENCODED_ANEW):
        found[corpus.name] = corpus
    return found


CORPORA = _all_corpora()
_SMALLEST_GIGABYTES = 0.25
_SMALLEST_RECORDS = 500_000
"""However small the scale: below, the kernel's clock ticks of 10 ms would show in the figures. The second where a
record is what costs."""

DEFAULT_CORPORA = (
    *("1k-none-64k", "1k-none-16k", "1k-none-4k", "1k-lz4-64k", "1k-zstd-64k"),
    *("100b-none-64k", "100b-lz4-64k", "100b-zstd-64k"),
    *(SINGLE_RECORDS.name, ENCODED_ANEW.name),
)
"""What runs unless told otherwise; `--only` takes any of the 20."""


def make_record(source: random.Random, size: int) -> bytes:
    """Return one JSON object of exactly that many bytes."""
    fields: dict[str, Any] = {
        "id": source.randrange(10**8),
        "type": source.choice(_TYPES),
        "city": source.choice(_CITIES),
        "amount": round(source.random() * 1000, 2),
    }
    if size > _SHORT_RECORD_BYTES:
        fields["user"] = f"{source.getrandbits(64):016x}"
        fields["trace"] = f"{source.getrandbits(192):048x}"
        fields["items"] = [
            {
                "sku": f"{source.choice('ABCDEF')}-{source.randrange(10**6):06d}",
                "qty": source.randrange(1, 9),
                "price": round(source.random() * 300, 2),
                "tag": source.choice(_TAGS),
            }
            for _ in range((size - 250) // _ITEM_BYTES)
        ]
    text = json.dumps(fields, separators=(",", ":"))[:-1] + ',"note":"'
    note = "".join(source.choices(string.ascii_lowercase + " ", k=size - len(text) - 2))
    return f'{text}{note}"}}'.encode()


def fill(bootstrap: str, corpus: Corpus, scale: float) -> int:
    """Write a corpus into its topic, which must exist; return the number of records.

    Raises:
        BufferError: The producer's queue overflowed, which its bounds here forbid.
    """
    source = random.Random(corpus.name)  # noqa: S311 - the same records every time
    pool = [{"value": make_record(source, corpus.record_bytes)} for _ in range(_POOL_RECORDS)]
    # The producer counts before it compresses.
    batch_bytes = int(corpus.batch_kib * 1024 * _RATIO[corpus.codec] * _FIT) + _BATCH_ROOM_BYTES
    if corpus.batch_records:
        wire_bytes = corpus.record_bytes + _BATCH_HEADER_BYTES / corpus.batch_records
        records = max(_SMALLEST_RECORDS, math.ceil(corpus.gigabytes * scale * GIGABYTE / wire_bytes))
    else:
        gigabytes = max(corpus.gigabytes * scale, _SMALLEST_GIGABYTES)
        records = math.ceil(gigabytes * GIGABYTE * _RATIO[corpus.codec] / corpus.record_bytes)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 3,  # a coordinator that is still loading is waited for, not worth a line
            "compression.type": corpus.codec,
            "batch.size": batch_bytes,
            "batch.num.messages": corpus.batch_records or 100_000,
            "linger.ms": 1000,  # so that only the last batch of a partition is not full
            "acks": "all",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 10_000_000,
            "queue.buffering.max.kbytes": 2 << 20,
        }
    )
    chunk = min(_POOL_RECORDS, _BATCHES_PER_ROUND * batch_bytes // (corpus.record_bytes + _ENVELOPE_BYTES))
    queued_max = _QUEUED_BYTES_MAX // corpus.record_bytes
    done = at = 0
    while done < records:
        for partition in range(PARTITIONS):
            if at + chunk > _POOL_RECORDS:
                at = 0
            part = pool[at : at + min(chunk, records - done)]
            if producer.produce_batch(corpus.topic, part, partition) != len(part):
                raise BufferError("the producer's queue is full")
            at += len(part)
            done += len(part)
        while len(producer) > queued_max:
            producer.poll(0.05)
    producer.flush()
    return records
