"""Applies a reading of the source's groups: decides for each partition, records what will be written, writes it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.groups.sync import CommitVerdict, GroupSyncFacts, Reading, TranslatedCommit, decide, recorded
from replicator.core.topics.ownership import recorded_commits
from replicator.core.topics.selection import matches_group
from replicator.engine.groups.places import MirrorNames, translate_commits
from replicator.engine.groups.sides import GroupSide, SideView, other_kind
from replicator.engine.state.groups import GroupRecords
from replicator.errors import Conflict
from replicator.model.names import TopicPartition
from replicator.model.status.groups import Committed, GroupKind, GroupState
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.engine.groups.positions import MirrorName, Positions
    from replicator.model.spec import FlowSpec

_GROUPS_AT_ONCE = 8
_DONE = frozenset({GroupState.IN_STEP, GroupState.GONE_ON_SOURCE})

log = get_logger(__name__)


@dataclass(slots=True)
class Applied:
    """What the last round did: per group and source partition, what was decided, and for which commits.

    `targets` are the partitions' names on the target; `written` is how many partitions of a group were written.
    """

    reading: Reading | None = None
    targets: dict[str, dict[TopicPartition, TopicPartition]] = field(default_factory=dict)
    verdicts: dict[str, dict[TopicPartition, CommitVerdict]] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)


class GroupWriter:
    """Writes the groups of one flow to its target.

    Args:
        flow: The flow's policy.
        target: The target's groups.
        positions: What the copying knows.
        records: The records of what was written.
        may_write: Whether this daemon is the one that writes; the others only read.

    Attributes:
        records: As given.
        applied: What the last round did.
        checkpoints: Per group, the monotonic start time of the reading with which it was last fully in step.
    """

    def __init__(
        self,
        flow: FlowSpec,
        target: GroupSide,
        positions: Positions,
        records: GroupRecords,
        may_write: Callable[[], bool],
    ) -> None:
        self.records = records
        self.applied = Applied()
        self.checkpoints: dict[str, float] = {}
        self._flow = flow
        self._target = target
        self._positions = positions
        self._may_write = may_write

    def known(self) -> dict[str, GroupKind]:
        """Return the groups that were ever written and are selected; the clusters may correct their kind."""
        means = self._flow.group_sync.groups
        recorded_ones = self.records.groups.keys() | self.records.damaged.keys()
        return {name: GroupKind.CLASSIC for name in sorted(recorded_ones) if matches_group(means, name)}

    async def apply(
        self, reading: Reading, mirrors: Mapping[str, MirrorName], *, clamp: bool, forced: bool
    ) -> SideView:
        """Write a reading to the target as far as the rules allow; return the target's groups as they are then.

        Args:
            reading: A reading whose ends were passed.
            mirrors: The mirrors whose topics count.
            clamp: See `decide`.
            forced: Write, whether or not `may_write` allows it.

        Raises:
            KafkaError: The target cannot be asked, or the intended writes could not be recorded.
        """
        translated = await translate_commits(self._positions, mirrors, reading.commits)
        await self.records.read_to_end()
        kinds = self.known() | dict(reading.kinds)
        here = await self._target.find(kinds)
        now_ms = time.time_ns() // 1_000_000
        applied = Applied(reading)
        names = MirrorNames(mirrors)
        turns = Turns()
        for name, kind in kinds.items():
            targets = names.partitions(reading.commits.get(name, {}), self.records.groups.get(name, {}))
            applied.targets[name] = targets
            applied.verdicts[name] = self._decide(
                name, kind, reading, targets, translated, here, now_ms=now_ms, clamp=clamp
            )
            await turns.give()
        if forced or self._may_write():
            await self._write(applied, kinds, here, now_ms, forced=forced)
        self.applied = applied
        for name, verdicts in applied.verdicts.items():
            if verdicts and all(one.state in _DONE and one.write is None for one in verdicts.values()):
                self.checkpoints[name] = reading.began
        return here

    def _decide(
        self,
        name: str,
        kind: GroupKind,
        reading: Reading,
        targets: Mapping[TopicPartition, TopicPartition],
        translated: Mapping[tuple[TopicPartition, int], TranslatedCommit],
        here: SideView,
        *,
        now_ms: int,
        clamp: bool,
    ) -> dict[TopicPartition, CommitVerdict]:
        commits = reading.commits.get(name, {})
        if name in reading.kinds and name not in reading.commits:
            return {}  # it exists but could not be read: its commits are unknown
        target, ours = here.commits.get(name, {}), self.records.groups.get(name, {})
        listed = here.listed.get(name)
        verdicts: dict[TopicPartition, CommitVerdict] = {}
        for source, there in targets.items():
            commit = commits.get(source)
            one = translated.get((source, commit.offset)) if commit is not None else None
            if name in self.records.damaged:
                verdicts[source] = CommitVerdict(GroupState.REFUSED, detail=self.records.damaged[name].with_next_step())
            elif commit is not None and name in here.refusals:
                refusal, why = here.refusals[name]
                verdicts[source] = CommitVerdict(refusal, detail=why)
            elif other_kind(listed, kind) and name in reading.kinds:
                detail = f"a {listed.kind} group has this name on the target" if listed is not None else None
                verdicts[source] = CommitVerdict(GroupState.UNSUPPORTED, detail=detail)
            else:
                facts = GroupSyncFacts(commit, one, target.get(there), ours.get(there))
                active = listed is not None and listed.is_active
                verdicts[source] = decide(facts, active=active, now_ms=now_ms, clamp=clamp)
        return verdicts

    async def _write(
        self, applied: Applied, kinds: Mapping[str, GroupKind], here: SideView, now_ms: int, *, forced: bool
    ) -> None:
        writes: dict[str, dict[TopicPartition, Committed]] = {}
        for name, verdicts in applied.verdicts.items():
            writes[name] = {
                applied.targets[name][source]: one.write for source, one in verdicts.items() if one.write is not None
            }
        # Groups that the source forgot are included, so that their records go once the target has forgotten them, too.
        changed = [
            name
            for name, verdicts in applied.verdicts.items()
            if writes[name] or any(one.state is GroupState.GONE_ON_SOURCE for one in verdicts.values())
        ]
        await self.records.write(
            {
                name: recorded(self.records.groups.get(name, {}), here.commits[name], writes[name], now_ms)
                for name in changed
                if name in here.commits
            }
        )
        room = asyncio.Semaphore(_GROUPS_AT_ONCE)

        async def write(name: str) -> None:
            async with room:
                if not (forced or self._may_write()):
                    return  # recording took long enough for another daemon to take over
                try:
                    owned = recorded_commits(name, writes[name], self.records.groups.get(name, {}))
                except Conflict as error:
                    log.info("a group is left to the next round", flow=self._flow.name, group=name, why=str(error))
                    return
                refusals = await self._target.write(kinds[name], owned)
            verdicts, targets = applied.verdicts[name], applied.targets[name]
            for source, one in verdicts.items():
                if one.write is None:
                    continue
                state, why = refusals.get(targets[source], (GroupState.IN_STEP, ""))
                verdicts[source] = CommitVerdict(state, detail=why or None, cut=one.cut)
            applied.written[name] = len(writes[name]) - len(refusals)
            stands = {where: one for where, one in writes[name].items() if where not in refusals}
            here.commits[name] = here.commits.get(name, {}) | stands

        await asyncio.gather(*(write(name) for name in writes if writes[name]))
