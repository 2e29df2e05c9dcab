"""Mirrors whose topic has disappeared from the source, or from the selection: noticed, reported, and left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.topics import selection
from replicator.core.topics.plan import MirrorFault
from replicator.engine.logs.refusals import TOPIC_AUTHORIZATION_FAILED, describe_refusal
from replicator.engine.state import records as state
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger
from replicator.wire.protocol.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.engine.state.topic.log import StateLog
    from replicator.engine.topics.chosen import ChosenTopics
    from replicator.engine.topics.mirror import Mirror
    from replicator.engine.topics.mirror_records import MirrorRecords
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster

log = get_logger(__name__)


class MissingTopics:
    """The mirrors of one flow whose topics no longer exist.

    Args:
        flow: The flow's policy.
        uid: The flow's id.
        source: The source cluster.
        state_log: The state topic of the target.
        chosen: Which topics are copied, and why others are left out.
        records: The mirrors' records.
        mirrors: By source topic name.
    """

    def __init__(
        self,
        flow: FlowSpec,
        uid: str,
        source: Cluster,
        state_log: StateLog,
        chosen: ChosenTopics,
        records: MirrorRecords,
        mirrors: dict[str, Mirror],
    ) -> None:
        self._flow = flow
        self._uid = uid
        self._source = source
        self._log = state_log
        self._chosen = chosen
        self._records = records
        self._mirrors = mirrors

    def remember(self, names: Iterable[str]) -> None:
        """Take the recorded mirrors of topics not among these: a new daemon, too, must miss what was copied before."""
        present = set(names)
        for record in state.readable_mirrors_of(self._log.records, self._uid):
            name = record.source_topic
            if name not in present and name not in self._mirrors and selection.matches(self._flow.topics, name):
                self._mirrors[name] = self._records.mirror(name, record.target_topic)

    async def why(self, names: Iterable[str]) -> dict[str, MirrorFault]:
        """Return why copied topics are missing from the source's topic list, where that is not known yet.

        A topic that this user may no longer describe is missing from that list silently.
        """
        known = {*names, *(name for name in self._mirrors if self._chosen.left_out(name) is not None)}
        missing = [name for name, mirror in self._mirrors.items() if name not in known and mirror.fault is None]
        codes = await self._source.refresh(missing) if missing else {}
        unknown = await self._source.gone(
            name for name, code in codes.items() if code == ErrorCode.unknown_topic_or_partition
        )
        faults = {
            name: MirrorFault(
                Reason.SOURCE_MISSING, f"{name} is not on the source any more; the target keeps what was copied"
            )
            for name in unknown
        }
        faults |= {
            name: MirrorFault(Reason.WAITING_FOR_ACCESS, describe_refusal(self._source.spec, "Metadata", code, name))
            for name, code in codes.items()
            if code == TOPIC_AUTHORIZATION_FAILED
        }
        return faults

    def note(self, names: Iterable[str], faults: Mapping[str, MirrorFault]) -> bool:
        """Stop the mirrors of topics that do not exist: each is reported, and left alone on the target.

        Args:
            names: Topics that exist, and are copied.
            faults: What `why` returned.

        Returns:
            Whether anything changed.
        """
        present = set(names)
        changed = False
        for name, mirror in self._mirrors.items():
            if name in present:
                if mirror.fault is not None and mirror.fault.reason in {Reason.SOURCE_MISSING, Reason.LEFT_OUT}:
                    mirror.fault, changed = None, True
                continue
            left_out = self._chosen.left_out(name)
            if left_out is not None:
                changed |= self._leave_out(mirror, left_out)
            elif mirror.fault is None and name in faults:
                mirror.fault, changed = faults[name], True
                if mirror.fault.reason is Reason.SOURCE_MISSING:
                    log.warning("topic gone", flow=self._flow.name, topic=name)
                else:
                    log.warning("topic stopped", topic=name, reason=mirror.fault.reason, why=mirror.fault.text)
        return changed

    def _leave_out(self, mirror: Mirror, why: str) -> bool:
        """Stop a mirror that an earlier version or a wider file started; return whether it was being copied before."""
        fault = MirrorFault(
            Reason.LEFT_OUT,
            f"{mirror.topic} {why}; what was copied stays on the target; next: list {mirror.topic} in topics.include "
            f"by its full name to copy it all the same, or add it to topics.exclude and delete {mirror.target_topic}",
        )
        if mirror.fault == fault or (mirror.fault is not None and mirror.fault.reason is Reason.FENCED):
            return False
        log.warning("topic left out", flow=self._flow.name, topic=mirror.topic, why=why)
        mirror.fault = fault
        return True
