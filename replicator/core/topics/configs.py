"""Which settings a mirror topic has, and why: copied, pinned, forced, or not copied.

For each setting, the strongest rule that applies wins:

1. **forced**: what the copy cannot do without (codec kept, record times kept, large batches accepted);
2. **override** of the flow file;
3. **exclude** of the flow file: neither set nor removed, whatever it is on the target;
4. **denied**: has no meaning, or does harm, on another cluster; treated as excluded, with a note;
5. **pinned**: the source's effective value, also where the source only inherits it from its brokers, because a
   target whose own default is shorter would delete what was copied;
6. **copied**: every other setting that is set on the source topic itself.

A setting on the target that no rule asks for is removed only if it is one we set ourselves earlier and its value
is still ours. Anything else there is the operator's, and stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from replicator.model.spec import TopicConfigs

LONG_MAX = str(2**63 - 1)
_LEFT_ALONE = "left alone, as the source does not tell its own"

_MAX_BYTES = "max.message.bytes"
_MIN_ISR = "min.insync.replicas"

_TIME_BEFORE = "message.timestamp.before.max.ms"
_TIME_AFTER = "message.timestamp.after.max.ms"
_TIME_DIFFERENCE = "message.timestamp.difference.max.ms"
_TIME_LIMITS = (_TIME_BEFORE, _TIME_AFTER, _TIME_DIFFERENCE)
"""The first two exist since Kafka 3.6 (KIP-937), the last one up to 3.9. In between, the last one counts if the others
have their default, which is also what we set."""

FORCED_NAMES = ("compression.type", "message.timestamp.type", *_TIME_LIMITS, _MAX_BYTES)

PINNED = ("cleanup.policy", "retention.ms", "retention.bytes")
_NEEDED = frozenset({*PINNED, _MAX_BYTES})
"""Settings that each mirror needs to get from its source."""
_POLICY = "cleanup.policy"
_WITHOUT_COMPACTION = {_POLICY: "delete", "retention.ms": "-1", "retention.bytes": "-1"}
"""Until a topic is seeded, nothing is compacted, and nothing deleted either."""

_TIERED = "tiered storage belongs to the target cluster; turn it on with topic_configs.override"
DENIED: Mapping[str, str] = {
    "leader.replication.throttled.replicas": "names replicas of the source cluster",
    "follower.replication.throttled.replicas": "names replicas of the source cluster",
    "unclean.leader.election.enable": "an unclean election on the target would lose records it has acknowledged",
    "message.format.version": "the record format is copied as it is; Kafka 4 has no such setting",
    "message.downconversion.enable": "only concerns clients of the source older than Kafka 0.11",
    "remote.storage.enable": _TIERED,
    "remote.log.copy.disable": _TIERED,
    "remote.log.delete.on.disable": _TIERED,
    "local.retention.ms": _TIERED,
    "local.retention.bytes": _TIERED,
}

DENIED_PREFIXES = ("confluent.", "redpanda.", "automq.", "kafka.", "warpstream.")
"""Vendors' own settings: placement, schema checks and tiering of the source cluster."""


@dataclass(frozen=True, slots=True)
class Desired:
    """Settings a mirror should have.

    Attributes:
        values: By name.
        untouched: Names that are neither set nor removed.
        unreported: Those of `untouched` for which the source may have a value of its own that it does not tell.
        held_back: Settings that the mirror only gets when it is opened: the source's own values of forced settings,
            and of `PINNED` ones while it may still be seeded.
        notes: One sentence for each decision an operator may wonder about.
    """

    values: Mapping[str, str]
    untouched: frozenset[str]
    unreported: frozenset[str]
    held_back: Mapping[str, str]
    notes: tuple[str, ...]


def desired_configs(
    dynamic: Mapping[str, str],
    effective: Mapping[str, str],
    policy: TopicConfigs,
    *,
    replication_factor: int,
    known: frozenset[str] | None,
    seeding: bool = False,
    unreported: frozenset[str] = frozenset(),
) -> Desired:
    """Return the settings of a mirror.

    Args:
        dynamic: What is set on the source topic itself.
        effective: What is in force on the source topic, at least `PINNED` and max.message.bytes as far as known.
        policy: `topic_configs` of the flow.
        replication_factor: Replicas of the mirror.
        known: Topic settings the target cluster knows; None if it does not tell: then only settings that every version
            knows are requested, as one unknown name fails a whole topic.
        seeding: Whether log starts may still have to be moved: no broker does that on a topic that is only compacted,
            and none accepts the keyless fillers there.
        unreported: Settings that may be set on the source topic itself, which the source does not tell.
    """
    override = {name: normalise(value) for name, value in policy.override}
    excluded = frozenset(policy.exclude) - override.keys()
    notes: list[str] = []
    pinned = {name: effective[name] for name in PINNED if name in effective}
    # A setting that the source does not tell may still be set: a mirror without it would lose what was copied.
    missing = _NEEDED - effective.keys() - override.keys() - dynamic.keys()
    if missing and effective:  # if nothing can be read, the caller reports that
        notes.append(f"{', '.join(sorted(missing))}: {_LEFT_ALONE}")
    left_out = FORCED_NAMES | override.keys() | excluded
    candidates = {name: value for name, value in {**pinned, **dynamic}.items() if name not in left_out}
    values = _copied(candidates, known, replication_factor, notes) | override
    forced = _forced(effective, override, known)
    for name, value in forced.items():
        if name in override and override[name] != value:
            notes.append(f"{name} stays {value} while the topic is a mirror, whatever topic_configs.override says")
    if excluded & forced.keys():
        names = ", ".join(sorted(excluded & forced.keys()))
        notes.append(f"{names}: needed by the copy, topic_configs.exclude does not apply")
    values |= forced
    held_back = _held_back(dynamic, forced, known)
    if seeding and "compact" in values.get(_POLICY, ""):
        held_back |= {name: values[name] for name in _WITHOUT_COMPACTION if name in values}
        values |= _WITHOUT_COMPACTION
        notes.append("cleanup.policy is set as on the source once every partition has begun to be copied")
    denied = frozenset(name for name in dynamic if _why_not(name, known) is not None)
    return Desired(
        values=values,
        untouched=(excluded | denied | missing | unreported | DENIED.keys()) - values.keys(),
        unreported=(missing | unreported) - values.keys(),
        held_back=held_back,
        notes=tuple(notes),
    )


def _copied(
    candidates: Mapping[str, str], known: frozenset[str] | None, replication_factor: int, notes: list[str]
) -> dict[str, str]:
    """Return the settings that are copied unchanged; for the others, add the reason to `notes`."""
    values: dict[str, str] = {}
    for name, value in sorted(candidates.items()):
        reason = _why_not(name, known)
        if reason is None:
            values[name] = normalise(value)
        else:
            notes.append(f"{name} is not copied: {reason}")
    if _MIN_ISR in values and _number(values[_MIN_ISR], 1) > replication_factor:
        notes.append(
            f"{_MIN_ISR} is {replication_factor} instead of {values[_MIN_ISR]}: the mirror has no more replicas"
        )
        values[_MIN_ISR] = str(replication_factor)
    return values


def changes(
    desired: Desired, present: Mapping[str, str], managed: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Return (settings to set, settings to remove, notes) that lead from `present` to `desired`.

    Args:
        desired: What the mirror should have.
        present: What is set on the target topic itself.
        managed: What we set on it earlier, as returned in `TopicPlan.managed`.
    """
    to_set = {
        name: value
        for name, value in desired.values.items()
        if name not in present or not _suffices(name, normalise(present[name]), value)
    }
    remove: list[str] = []
    notes: list[str] = []
    for name, value in sorted(present.items()):
        if name in desired.values:
            continue
        if name in desired.untouched:
            if name in managed and name in desired.unreported - _NEEDED:  # `desired.notes` reports those
                notes.append(f"{name}: {_LEFT_ALONE}")
            continue
        if name in managed and normalise(managed[name]) == normalise(value):
            remove.append(name)
        else:
            notes.append(f"{name}={value} is set on the target only and was not set by this flow: left alone")
    return to_set, tuple(remove), tuple(notes)


def at_promotion(
    managed: Mapping[str, str], held_back: Mapping[str, str], present: Mapping[str, str], fresh: Desired | None = None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return (settings to set, settings to remove) for a mirror that becomes an ordinary topic; none once it is one.

    Larger batches stay accepted: some may be in its log.

    Args:
        managed: What we set on it.
        held_back: `Desired.held_back`, as it was recorded.
        present: What is set on it now.
        fresh: What the source asks for now, for a seeded mirror; None if the source cannot be asked.
    """
    wanted = dict(held_back)
    ours = frozenset(FORCED_NAMES)
    if fresh is not None:
        wanted = {name: value for name, value in fresh.values.items() if name not in FORCED_NAMES}
        wanted |= fresh.held_back
        ours |= managed.keys() - fresh.untouched
    elif _POLICY in held_back:
        ours |= _WITHOUT_COMPACTION.keys()
    to_set = {name: value for name, value in wanted.items() if normalise(present.get(name, "")) != value}
    remove = {
        name
        for name in ours
        if name in managed and name in present and normalise(present[name]) == normalise(managed[name])
    }
    return to_set, tuple(sorted(remove - wanted.keys() - {_MAX_BYTES}))


def opened_uncompacted(managed: Mapping[str, str], held_back: Mapping[str, str], present: Mapping[str, str]) -> bool:
    """Return whether a mirror may have been opened before it got the source's cleanup policy.

    An earlier version did not record the policy that it held back: what it set until a topic was seeded then stays
    there for ever. A topic that keeps everything by its source's own settings looks the same.
    """
    return _POLICY not in held_back and all(
        normalise(managed.get(name, "")) == value == normalise(present.get(name, ""))
        for name, value in _WITHOUT_COMPACTION.items()
    )


def normalise(value: str) -> str:
    """Return a value in the form that a broker returns: no blanks around commas, true and false in lower case."""
    text = ",".join(part.strip() for part in value.strip().split(","))
    return text.lower() if text.lower() in {"true", "false"} else text


def _why_not(name: str, known: frozenset[str] | None) -> str | None:
    if name in DENIED:
        return DENIED[name]
    if name.startswith(DENIED_PREFIXES):
        return "a vendor's own setting of the source cluster"
    if known is not None and name not in known:
        return "the target cluster does not know it"
    return None


def _forced(effective: Mapping[str, str], override: Mapping[str, str], known: frozenset[str] | None) -> dict[str, str]:
    forced = {"compression.type": "producer", "message.timestamp.type": "CreateTime"}
    forced |= {name: LONG_MAX for name in _TIME_LIMITS if known is not None and name in known}
    if _MAX_BYTES in effective:
        needed = _number(effective[_MAX_BYTES], 0)
        forced[_MAX_BYTES] = str(max(needed, _number(override.get(_MAX_BYTES, ""), needed)))
    return forced


def _held_back(dynamic: Mapping[str, str], forced: Mapping[str, str], known: frozenset[str] | None) -> dict[str, str]:
    own = {name: normalise(dynamic[name]) for name in FORCED_NAMES if name in dynamic and name != _MAX_BYTES}
    if known is not None:
        if _TIME_DIFFERENCE in own and _TIME_BEFORE in known:
            # Kafka 4 has no such setting any more; it means both of its successors.
            limit = own.pop(_TIME_DIFFERENCE)
            own = {_TIME_BEFORE: limit, _TIME_AFTER: limit} | own
        elif own.get(_TIME_BEFORE) == own.get(_TIME_AFTER) is not None and _TIME_BEFORE not in known:
            own[_TIME_DIFFERENCE] = own[_TIME_BEFORE]
        own = {name: value for name, value in own.items() if name in known}
    return {name: value for name, value in own.items() if value != forced.get(name)}


def _suffices(name: str, present: str, desired: str) -> bool:
    """Return whether a value on the target is sufficient; a limit that was raised by hand is not lowered."""
    if name == _MAX_BYTES:
        return _number(present, -1) >= _number(desired, 0)
    return present == desired


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isdecimal() else otherwise
