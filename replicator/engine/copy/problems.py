"""The present problems of one flow's copy, by place: what status shows, and what is logged once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.obs import bugs
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection

log = get_logger(__name__)


class Problems:
    """Problems of one pump: of brokers, of partitions, and of what it looks at now and then.

    Args:
        source: The alias of the cluster that is read.
        target: The alias of the one that is written to.

    Attributes:
        by_place: What is wrong, by place; a place is a broker, a partition, or named by whoever reports it.
        muted: Whether nothing is taken up any more: the pump ends, and its connections with it.
    """

    def __init__(self, source: str, target: str) -> None:
        self.by_place: dict[str, str] = {}
        self.muted = False
        self._source = source
        self._target = target

    def source(self, node: int, why: str) -> None:
        """Report a source broker that cannot be read."""
        self.report(f"{self._source} broker {node}", why)

    def target(self, node: int, why: str) -> None:
        """Report a target broker that cannot be written to."""
        self.report(f"{self._target} broker {node}", why)

    def bug_at_source(self, node: int, bug: Exception) -> None:
        """Report an error of this software that an answer of a source broker, or a request to it, met."""
        bugs.note(bug, source_broker=node)
        self.source(node, f"{type(bug).__name__}: {bug}")

    def source_works(self, node: int) -> None:
        """A source broker answered."""
        if self.by_place:
            self.by_place.pop(f"{self._source} broker {node}", None)

    def target_works(self, node: int) -> None:
        """A target broker answered."""
        if self.by_place:
            self.by_place.pop(f"{self._target} broker {node}", None)

    def report(self, place: str, why: str) -> None:
        """Report what is wrong at a place; the same text is logged once."""
        if self.muted:
            return
        if self.by_place.get(place) != why:
            log.warning("trouble", place=place, why=why)
        self.by_place[place] = why

    def is_over(self, place: str) -> None:
        """Nothing is wrong at a place any more."""
        self.by_place.pop(place, None)

    def present(self, source_nodes: Collection[int], target_nodes: Collection[int]) -> dict[str, str]:
        """Return the problems by place, without those of brokers which nothing is asked of any more.

        What has stopped asks for nothing, so nothing would take the word back once the broker answers again.
        """
        used = {f"{self._source} broker {node}" for node in source_nodes}
        used |= {f"{self._target} broker {node}" for node in target_nodes}
        return {place: why for place, why in self.by_place.items() if " broker " not in place or place in used}
