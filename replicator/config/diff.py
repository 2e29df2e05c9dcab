"""What a reloaded flow file changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from replicator.model.spec import Spec


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between two flow files, by name.

    Attributes:
        flows_added: Flows that only the new file has.
        flows_removed: Flows that only the old file has.
        flows_changed: Flows whose own keys differ.
        clusters_changed: Clusters that both files have, with different keys.
        flows_affected: Flows with unchanged keys whose source or target cluster changed; they reconnect.
        restart_because: Keys that a running daemon cannot change (``daemon.http``).
    """

    flows_added: tuple[str, ...] = ()
    flows_removed: tuple[str, ...] = ()
    flows_changed: tuple[str, ...] = ()
    clusters_changed: tuple[str, ...] = ()
    flows_affected: tuple[str, ...] = ()
    restart_because: tuple[str, ...] = ()

    @property
    def restart_needed(self) -> bool:
        """Whether the daemon must be restarted for all of it to take effect."""
        return bool(self.restart_because)

    @property
    def empty(self) -> bool:
        """Whether nothing differs that a daemon acts on."""
        return self == Plan()


def diff(old: Spec, new: Spec) -> Plan:
    """Return what changes from `old` to `new`, in the order of the files."""
    old_flows = {flow.name: flow for flow in old.flows}
    new_flows = {flow.name: flow for flow in new.flows}
    flows_changed = _changed(old_flows, new_flows)
    clusters_changed = _changed(
        {cluster.alias: cluster for cluster in old.clusters},
        {cluster.alias: cluster for cluster in new.clusters},
    )
    return Plan(
        flows_added=tuple(name for name in new_flows if name not in old_flows),
        flows_removed=tuple(name for name in old_flows if name not in new_flows),
        flows_changed=flows_changed,
        clusters_changed=clusters_changed,
        flows_affected=tuple(
            name
            for name, flow in new_flows.items()
            if name in old_flows
            and name not in flows_changed
            and not {flow.source, flow.target}.isdisjoint(clusters_changed)
        ),
        restart_because=(
            *_differing("daemon", replace(old.daemon, access=new.daemon.access), new.daemon),
            *_differing("coordinator", old.coordinator, new.coordinator),
        ),
    )


def _changed(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(name for name, value in new.items() if name in old and old[name] != value)


def _differing(section: str, old: Any, new: Any) -> tuple[str, ...]:
    names = (field.name for field in fields(old))
    return tuple(
        f"{section}.{name.removesuffix('_seconds')}" for name in names if getattr(old, name) != getattr(new, name)
    )
