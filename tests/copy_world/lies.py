"""What an answer of the source may claim that is not so, once it was spoiled on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.copy_world.source_log import FetchAnswer

Lie = Callable[[FetchAnswer, int], FetchAnswer]
"""Spoils an answer on its way; the number chooses which batch of it, or by how much."""


def _moved(answer: FetchAnswer, pick: int, by: int) -> FetchAnswer:
    """Move a batch; but not the first: if it begins below what was asked for, nothing shows where it stands."""
    batches = list(answer.batches)
    if len(batches) == 1:
        return answer
    at = 1 + pick % (len(batches) - 1)
    header = batches[at].header
    batches[at] = replace(batches[at], header=header._replace(base_offset=header.base_offset + by))
    return answer._replace(batches=tuple(batches))


def further_on(answer: FetchAnswer, pick: int) -> FetchAnswer:
    """Let a batch claim an offset that is slightly too high."""
    return _moved(answer, pick, 1 + pick % 3)


def far_beyond(answer: FetchAnswer, pick: int) -> FetchAnswer:
    """Let a batch claim an offset beyond the log's end."""
    return _moved(answer, pick, 1000)


def below_zero(answer: FetchAnswer, pick: int) -> FetchAnswer:
    """Let a batch claim an offset that cannot be."""
    return _moved(answer, pick, -(1 << 40))


def overlapping(answer: FetchAnswer, pick: int) -> FetchAnswer:
    """Let a batch begin inside the one before it, where they follow each other."""
    headers = [batch.header for batch in answer.batches]
    touching = [at for at in range(1, len(headers)) if headers[at].base_offset == headers[at - 1].next_offset]
    return _moved(answer, touching[pick % len(touching)] - 1, -1) if touching else answer


def of_an_epoch_to_come(answer: FetchAnswer, pick: int) -> FetchAnswer:
    """Let a batch claim a leader epoch that its leader has not reached."""
    batches = list(answer.batches)
    at = pick % len(batches)
    header = batches[at].header
    batches[at] = replace(batches[at], header=header._replace(leader_epoch=header.leader_epoch + 1000))
    return answer._replace(batches=tuple(batches))


def of_another_place(answer: FetchAnswer, _pick: int) -> FetchAnswer:
    """Give what stands behind the first batch, as if it had been asked for."""
    return answer._replace(batches=answer.batches[1:])


LIES: tuple[Lie, ...] = (further_on, far_beyond, below_zero, overlapping, of_an_epoch_to_come, of_another_place)
LIES_SEEN_BESIDE_HOLES: tuple[Lie, ...] = (far_beyond, below_zero, overlapping, of_an_epoch_to_come)
"""Those that show in a log from which a cleaner may have taken anything."""
