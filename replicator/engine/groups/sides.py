"""The groups of both clusters as values: read all at once, and written one by one, whatever their kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.errors import KafkaError, TimedOut
from replicator.model.status.groups import Committed, GroupKind, GroupState, Listed
from replicator.wire.messages.groups import Groups
from replicator.wire.messages.share_groups import alter_share_starts, offers_share_offsets, share_starts
from replicator.wire.protocol.faults import broker_error, error_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.core.topics.ownership import OwnedCommits
    from replicator.model.names import TopicPartition
    from replicator.wire.cluster import Cluster

_HAS_MEMBERS = frozenset({22, 25, 68, 82, 110, 113})
"""ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, NON_EMPTY_GROUP, FENCED_INSTANCE_ID, FENCED_ and STALE_MEMBER_EPOCH."""
_GROUP_ID_NOT_FOUND = 69
_OFFSET_METADATA_TOO_LARGE = 12
_AUTHORIZATION_FAILED = frozenset({29, 30})


@dataclass(slots=True)
class SideView:
    """The groups of one cluster at one moment.

    Attributes:
        listed: The groups that exist.
        commits: The commits of each group; a share group's start offsets. A group that could not be read is missing.
        refusals: For each group that could not be read, the state to show and the reason.
    """

    listed: dict[str, Listed] = field(default_factory=dict)
    commits: dict[str, dict[TopicPartition, Committed]] = field(default_factory=dict)
    refusals: dict[str, tuple[GroupState, str]] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, GroupKind]:
        """The kind of each group that exists."""
        return {name: one.kind for name, one in self.listed.items()}


class GroupSide:
    """The groups of one cluster.

    Its methods may raise:
        KafkaError: The cluster cannot be asked.
        TimedOut: A coordinator did not become ready.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._groups = Groups(cluster)

    async def read(self, means: Callable[[str], bool]) -> SideView:
        """Return the groups whose names are selected, with all their commits."""
        listed = {name: one for name, one in (await self._groups.listed()).items() if means(name)}
        return await self._view(listed, {name: one.kind for name, one in listed.items()})

    async def find(self, kinds: Mapping[str, GroupKind]) -> SideView:
        """Return the groups of these names and kinds, whether or not they exist here."""
        every = await self._groups.listed()
        listed = {name: every[name] for name in kinds if name in every}
        # A group can only be read with the request for its own kind.
        return await self._view(listed, {name: listed[name].kind if name in listed else kinds[name] for name in kinds})

    async def _view(self, listed: dict[str, Listed], kinds: Mapping[str, GroupKind]) -> SideView:
        view = SideView(listed)
        share = [name for name, kind in kinds.items() if kind is GroupKind.SHARE]
        plain = [name for name, kind in kinds.items() if kind not in {GroupKind.SHARE, GroupKind.UNKNOWN}]
        if plain:
            _take(view, await self._groups.committed(plain))
        if share and await offers_share_offsets(self.cluster):
            _take(view, await share_starts(self._groups, share))
        elif share:
            why = f"{self.cluster.spec.alias} cannot read and set start offsets of share groups (Kafka 4.1 can)"
            view.refusals |= dict.fromkeys(share, (GroupState.UNSUPPORTED, why))
        for name, kind in kinds.items():
            if kind is GroupKind.UNKNOWN:
                view.refusals[name] = GroupState.UNSUPPORTED, "this version does not know its kind"
        return view

    async def write(self, kind: GroupKind, owned: OwnedCommits) -> dict[TopicPartition, tuple[GroupState, str]]:
        """Commit for a group without members; return the refused partitions, each with the reason.

        Raises nothing: a coordinator that cannot be reached affects only its own groups.
        """
        group, commits = owned.group, owned.commits
        api = "AlterShareGroupOffsets" if kind is GroupKind.SHARE else "OffsetCommit"
        try:
            if kind is GroupKind.SHARE:
                codes = await alter_share_starts(self._groups, group, commits)
            else:
                codes = await self._groups.commit(group, commits)
        except (KafkaError, TimedOut) as error:
            return dict.fromkeys(commits, (GroupState.REFUSED, _describe(error)))
        return {where: self._refusal(api, group, where, codes.get(where)) for where in commits if codes.get(where) != 0}

    def _refusal(self, api: str, group: str, where: TopicPartition, code: int | None) -> tuple[GroupState, str]:
        alias = self.cluster.spec.alias
        if code is None:
            return GroupState.REFUSED, f"{alias} did not answer for this partition"
        if code in _HAS_MEMBERS:
            return GroupState.ACTIVE_ON_TARGET, "the group has members on the target"
        if code == _GROUP_ID_NOT_FOUND:
            return GroupState.UNSUPPORTED, f"a group of another kind has this name on {alias}"
        if code == _OFFSET_METADATA_TOO_LARGE:
            return GroupState.REFUSED, f"its metadata is longer than offset.metadata.max.bytes of {alias} allows"
        if code in _AUTHORIZATION_FAILED:
            error = broker_error(self.cluster.spec, api, code, group if code == 30 else where.topic)  # noqa: PLR2004
            return GroupState.REFUSED, _describe(error)
        return GroupState.REFUSED, f"{alias} answers {error_name(code)}"


def _take(view: SideView, answers: Mapping[str, dict[TopicPartition, Committed] | KafkaError]) -> None:
    for name, one in answers.items():
        if isinstance(one, KafkaError):
            view.refusals[name] = GroupState.REFUSED, _describe(one)
        else:
            view.commits[name] = one


def _describe(error: KafkaError | TimedOut) -> str:
    return f"{error}; {error.next_step}" if error.next_step else str(error)


def other_kind(there: Listed | None, kind: GroupKind) -> bool:
    """Return whether the group of that name has a kind on the target that offsets of this kind do not fit."""
    return there is not None and (there.kind is GroupKind.SHARE) != (kind is GroupKind.SHARE)
