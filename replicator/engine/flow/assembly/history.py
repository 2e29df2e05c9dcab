"""What happened to the mirrors of a flow: kept in the store, and logged if somebody has to act."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicator.core.copy.values import Phase
from replicator.errors import StoreError
from replicator.model.status.events import Event
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.model.operations.resolution import Resolution, ResolutionOrder
    from replicator.store.event_store import Store

log = get_logger(__name__)


class History:
    """The events of one flow."""

    def __init__(self, flow: str, store: Store) -> None:
        self._flow = flow
        self._store = store
        self._store_fails = False

    def recent(self, topic: str | None, limit: int) -> Sequence[Event]:
        """Return recent events, newest last."""
        return self._store.recent(self._flow, topic, limit)

    def changed(self, slot: PartitionView, before: Phase, text: str) -> None:
        """Record that a partition has changed its phase."""
        copy = slot.copy
        event = Event(
            at=_now(),
            flow=self._flow,
            topic=slot.source.topic,
            partition=slot.source.partition,
            before=before.name,
            after=copy.phase.name,
            reason=copy.reason,
            text=text,
        )
        self._keep(event)
        if copy.phase is Phase.FAULTED:
            log.warning(
                "partition stopped",
                flow=self._flow,
                partition=str(slot.source),
                reason=copy.reason,
                why=text,
                next=f"replicator mirror describe {self._flow} {slot.source.topic}",
                always=True,
            )
        else:
            log.debug("partition", flow=self._flow, partition=str(slot.source), phase=copy.phase.name, why=text)

    def resolved(self, order: ResolutionOrder, resolution: Resolution) -> None:
        """Record that an operator resolved a fault: who, how, and at what cost."""
        losses = "; ".join(map(str, resolution.losses)) or "nothing is lost"
        why = f" ({order.why})" if order.why else ""
        self._keep(
            Event(
                at=_now(),
                flow=self._flow,
                topic=order.topic,
                partition=None,
                before=None,
                after=None,
                reason=", ".join(resolution.reasons),
                text=f"{order.actor} resolved it by {order.how}{why}; {losses}",
            )
        )

    def _keep(self, event: Event) -> None:
        """Keep an event. A full disk costs history, never the copy; the failure is logged once until it has passed."""
        try:
            self._store.add(event)
        except StoreError as error:
            if not self._store_fails:
                log.error("events are not kept", why=str(error), next=error.next_step)  # noqa: TRY400 - no crash
            self._store_fails = True
        else:
            self._store_fails = False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
