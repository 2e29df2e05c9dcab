"""The current problems of one flow's copy, by where they are: status shows them, and each is logged once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.obs import bugs
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection

log = get_logger(__name__)


class Problems:
    """Problems of one pump: with brokers, with partitions, and with what it checks from time to time.

    Args:
        source: The alias of the source cluster.
        target: The alias of the target cluster.

    Attributes:
        by_subject: What is wrong, by subject: a broker, a partition, or a name that the reporter chose.
        muted: Whether reports are ignored, because the pump is closing and its connections with it.
    """

    def __init__(self, source: str, target: str) -> None:
        self.by_subject: dict[str, str] = {}
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
        """Report a bug in this software that came up with a request to a source broker, or with its response."""
        bugs.note(bug, source_broker=node)
        self.source(node, f"{type(bug).__name__}: {bug}")

    def source_works(self, node: int) -> None:
        """Note that a source broker responded."""
        if self.by_subject:
            self.by_subject.pop(f"{self._source} broker {node}", None)

    def target_works(self, node: int) -> None:
        """Note that a target broker responded."""
        if self.by_subject:
            self.by_subject.pop(f"{self._target} broker {node}", None)

    def report(self, subject: str, why: str) -> None:
        """Report what is wrong with a subject; the same text is logged once."""
        if self.muted:
            return
        if self.by_subject.get(subject) != why:
            log.warning("trouble", place=subject, why=why)
        self.by_subject[subject] = why

    def is_over(self, subject: str) -> None:
        """Note that nothing is wrong with a subject any more."""
        self.by_subject.pop(subject, None)

    def present(self, source_nodes: Collection[int], target_nodes: Collection[int]) -> dict[str, str]:
        """Return the problems by subject, without those of brokers that no partition uses any more.

        Stopped partitions send no requests, so nothing would withdraw the report once the broker responds again.
        """
        used = {f"{self._source} broker {node}" for node in source_nodes}
        used |= {f"{self._target} broker {node}" for node in target_nodes}
        return {
            subject: why for subject, why in self.by_subject.items() if " broker " not in subject or subject in used
        }
