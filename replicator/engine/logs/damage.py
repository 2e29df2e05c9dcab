"""Says whose log holds a damaged batch: an operator repairs the source's and the target's in different ways."""

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
    """Attribute damage found inside the `with` block to the target.

    Raises:
        CorruptRecords: It names the target partition and says what helps.
    """
    try:
        yield
    except CorruptRecords as damage:
        raise CorruptRecords(
            f"{where} of the target {side.cluster.spec.alias} holds a damaged batch",
            why=str(damage),
            next_step="make another replica of it the leader and resolve with `--how skip`, which then loses nothing; "
            "if no replica is sound, `--how recreate` copies it again from the start",
        ) from damage
