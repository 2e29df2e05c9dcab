"""Whose log a damaged batch stands in: an operator mends the source's and the target's in different ways."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.errors import CorruptRecords

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.engine.logs.side import Side
    from replicator.model.names import TopicPartition


@contextmanager
def target_read(side: Side, where: TopicPartition) -> Iterator[None]:
    """Tell that what is found damaged within is the target's.

    Raises:
        CorruptRecords: It says whose, and what helps.
    """
    try:
        yield
    except CorruptRecords as damage:
        raise CorruptRecords(
            f"{where} of the target {side.cluster.spec.alias} holds a damaged batch",
            why=str(damage),
            next_step="let another replica of it lead and resolve with `--how skip`, which then loses nothing; "
            "where none is sound, `--how recreate` copies it anew",
        ) from damage
