"""Every decoder of bytes that others wrote, as a function of bytes: it understands them or refuses them by an error.

What else it raises is a finding, and so is an answer that cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from replicator.errors import BugError, ReplicatorError
from tests.hostile.fuzz.caller_targets import http, messages, names, words
from tests.hostile.fuzz.kafka_targets import answers, batches, fetch, inflated, produce
from tests.hostile.fuzz.keeping import CORPUS
from tests.hostile.fuzz.stored_targets import audit, flow_file, leases, mirror_maker, offset_maps, state_records

Decoder = Callable[[bytes], None]


def refused_or_understood(decoder: Decoder, raw: bytes) -> None:
    """Decode; errors of ours are what has to come of nonsense, except for those that tell of a bug."""
    try:
        decoder(raw)
    except BugError:
        raise
    except ReplicatorError:
        return


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
