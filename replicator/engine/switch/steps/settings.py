"""The settings of opened mirrors: what was held back while they were copied to is set and verified."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import Role
from replicator.core.topics.configs import LONG_MAX, Desired, at_promotion, desired_configs, opened_uncompacted
from replicator.core.topics.ownership import recorded
from replicator.engine.state import records as state
from replicator.engine.state.journal import switches_of
from replicator.engine.state.topic.log import StateLog
from replicator.engine.switch.context import SOURCE_SECONDS_MAX, mirrors_in
from replicator.engine.topics.facts import effective_of
from replicator.errors import KafkaError, NotOurs
from replicator.model.names import STATE_TOPIC
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.admin.topic_values import TopicConfig
    from replicator.admin.topics import TopicAdmin
    from replicator.engine.switch.context import SwitchContext
    from replicator.model.switch.terms import Scope
    from replicator.state_pb import state_pb2 as pb
    from replicator.wire.cluster import Cluster

_CONFIGS_AT_ONCE = 16
_ROUNDS_MAX = 3
"""Another daemon of the flow may still be setting what a mirror needs, in a pass that began before the fence."""
_ROUND_SECONDS = 0.5
_NAMED_MAX = 10
_AGAIN_SECONDS = 30.0
"""How often we check whether someone has decided about the topics that cannot be judged."""
_POLICY = "cleanup.policy"
_POLICIES = (_POLICY, "retention.ms", "retention.bytes")

log = get_logger(__name__)


class Opening:
    """Sets the settings of mirrors being opened.

    Args:
        context: What the switch works on.
    """

    def __init__(self, context: SwitchContext) -> None:
        self._context = context

    async def release(self, scope: Scope, *, ask_source: bool) -> None:
        """Give mirrors the settings that were held back while they were copied to, and read them back.

        What the target refuses, or someone else sets again, is reported and left: an open side is worth more than a
        setting.

        Args:
            scope: The mirrors being opened.
            ask_source: Whether the source can be asked for its present settings; else the recorded ones count, which
                are up to half a minute old.

        Raises:
            KafkaError: The target cannot be asked.
        """
        context = self._context
        if context.flow.both_ways:
            return  # its settings were never ours
        mirrors = {one.target_topic: one for one in mirrors_in(context.log.records, context.uid, scope)}
        source = await self._source_configs(mirrors.values()) if ask_source else {}
        refused: dict[str, KafkaError] = {}
        for number in range(_ROUNDS_MAX):
            left = await self._left(mirrors, source)
            todo = {name: step for name, step in left.items() if name not in refused}
            if not todo:
                break
            if number:
                await asyncio.sleep(_ROUND_SECONDS)
            await self._set(mirrors, todo, refused)
        else:
            left = await self._left(mirrors, source)
        for name, (to_set, remove) in left.items():
            log.warning(
                "settings not released",
                topic=name,
                why=str(refused.get(name, "someone else set them again")),
                next=_command(name, to_set, remove),
            )

    async def _left(
        self, mirrors: Mapping[str, pb.MirrorRecord], source: Mapping[str, TopicConfig]
    ) -> dict[str, tuple[dict[str, str], tuple[str, ...]]]:
        """Return what still has to be set and removed on the target so that mirrors are open."""
        context = self._context
        present = await context.admins[1].describe_configs(sorted(mirrors))
        await context.target.refresh(sorted(present))
        left = {}
        for name, config in present.items():
            mirror = mirrors[name]
            fresh = None
            if mirror.source_topic in source:
                fresh = self._desired(source[mirror.source_topic], config, name)
            step = at_promotion(mirror.managed, mirror.held_back, config.dynamic, fresh)
            if any(step):
                left[name] = step
        return left

    def _desired(self, source: TopicConfig, target: TopicConfig, name: str) -> Desired:
        described = self._context.target.topics.get(name)
        return desired_configs(
            source.dynamic,
            effective_of(source),
            self._context.flow.topic_configs,
            replication_factor=described.replication_factor if described is not None else 1,
            known=frozenset(target.effective),
            unreported=source.unreported,
        )

    async def _source_configs(self, mirrors: Iterable[pb.MirrorRecord]) -> dict[str, TopicConfig]:
        """Return the settings of the mirrors' source topics, as far as the source reports them now."""
        source = self._context.source
        by_name = {one.source_topic: one for one in mirrors}
        if not by_name:
            return {}
        try:
            async with asyncio.timeout(SOURCE_SECONDS_MAX):
                await source.refresh(sorted(by_name))
                same = [
                    name
                    for name, one in by_name.items()
                    if name in source.topics and source.topics[name].topic_id == one.source_topic_id
                ]
                return await self._context.admins[0].describe_configs(sorted(same)) if same else {}
        except (KafkaError, TimeoutError) as error:
            log.warning(
                "the source does not report its settings, those last seen are set",
                flow=self._context.flow.name,
                why=str(error),
            )
            return {}

    async def _set(
        self,
        mirrors: Mapping[str, pb.MirrorRecord],
        todo: Mapping[str, tuple[dict[str, str], tuple[str, ...]]],
        refused: dict[str, KafkaError],
    ) -> None:
        room = asyncio.Semaphore(_CONFIGS_AT_ONCE)

        async def release(name: str, to_set: dict[str, str], remove: tuple[str, ...]) -> None:
            async with room:
                try:
                    await self._context.admins[1].alter_configs(
                        recorded(name, mirrors[name].target_topic_id), to_set, remove
                    )
                except KafkaError as error:
                    if error.retryable and not isinstance(error, NotOurs):
                        raise
                    refused[name] = error

        await asyncio.gather(*(release(name, *step) for name, step in todo.items()))


class OpenedSettingsCheck:
    """Checks the settings of opened mirrors once after a start or a switch.

    An earlier version did not record the cleanup policy that it held back, and opened a compacted topic as one that
    keeps everything. If the old source still shows that it is compacted, this is repaired. If a reverse flow has given
    it the settings of the open side in the meantime, nothing shows it any more: such topics are reported, with what to
    do.

    Attributes:
        problem: Text about those topics, None if there are none.

    Args:
        uid: Uid of the flow.
        source: Its source, the passive side of what is opened.
        admins: Admin clients of both sides.
        state_log: The state topic of the target.
    """

    def __init__(self, uid: str, source: Cluster, admins: tuple[TopicAdmin, TopicAdmin], state_log: StateLog) -> None:
        self.problem: str | None = None
        self._uid = uid
        self._source = source
        self._admins = admins
        self._log = state_log
        self._source_log: StateLog | None = None
        self._unknown: set[str] = set()
        self._again_at = 0.0
        self._judged: set[tuple[str, int]] = set()
        self._roles: object = None

    async def check(self) -> None:
        """Check mirrors opened since the last check; those that cannot be judged are checked again later."""
        try:
            await self._check()
        except KafkaError as error:
            log.debug("opened mirrors not looked at", uid=self._uid, why=str(error))

    async def _check(self) -> None:
        records = self._log.records
        writers = state.writers_of(records, self._uid)
        if writers is None or switches_of(records, self._uid).running is not None:
            return
        roles = (writers.flow, tuple(sorted(writers.own.items())))
        now = asyncio.get_running_loop().time()
        if roles == self._roles and not (self._unknown and now >= self._again_at):
            return
        self._again_at = now + _AGAIN_SECONDS
        is_open = any(writer.role is Role.PROMOTED for writer in (writers.flow, *writers.own.values()))
        mirrors = {
            one.target_topic: one
            for one in (state.mirrors_of(records, self._uid) if is_open else ())
            if writers.of(one.target_topic).role is Role.PROMOTED
        }
        opened = {(name, writers.of(name).producer_epoch) for name in mirrors}
        self._judged = {one for one in self._judged & opened if one[0] not in self._unknown}
        fresh = sorted(name for name, _ in opened - self._judged)
        self._unknown &= mirrors.keys() - set(fresh)
        present = await self._admins[1].describe_configs(fresh) if fresh else {}
        for name, config in present.items():
            _report_held_back(mirrors[name], config)
        suspects = [
            mirrors[name]
            for name, config in present.items()
            if not mirrors[name].tells_policy
            and opened_uncompacted(mirrors[name].managed, mirrors[name].held_back, config.dynamic)
        ]
        if suspects:
            self._unknown |= await self._compact(suspects)
        self._report_unknown()
        self._judged |= opened
        self._roles = roles

    def _report_unknown(self) -> None:
        names = sorted(self._unknown)
        if not names:
            self.problem = None
            return
        more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
        compact = _command(names[0], {_POLICY: "compact"}, ())
        keep = _command(names[0], {"retention.bytes": LONG_MAX}, ())
        text = (
            f"it is not known whether {', '.join(names[:_NAMED_MAX])}{more} should be compacted: an earlier version "
            "opened such topics with `cleanup.policy=delete`, and the reverse flow took that over; if so: "
            f"`{compact}`; if it should keep everything: `{keep}`, which changes nothing but ends this warning"
        )
        if text != self.problem:
            log.warning("opened topics may have lost their cleanup policy", why=text, next=compact)
        self.problem = text

    async def _given_away(self) -> frozenset[str]:
        """Return the old source's topics to which a flow gave, or may have given, the settings of a mirror's seed."""
        if await self._source.describe(STATE_TOPIC) is None:
            return frozenset()
        if self._source_log is None:
            self._source_log = StateLog(self._source)
        await self._source_log.read_to_end()
        return frozenset(
            topic
            for topic, one in state.every_mirror(self._source_log.records)
            if one is None or opened_uncompacted(one.managed, {}, one.managed)
        )

    async def _compact(self, suspects: list[pb.MirrorRecord]) -> set[str]:
        """Give suspects their old source's cleanup policy, if that still shows that they are compacted.

        Returns:
            The target topics for which nothing shows whether they should be.
        """
        by_name = {one.source_topic: one for one in suspects}
        await self._source.refresh(sorted(by_name))
        there = await self._admins[0].describe_configs([name for name in by_name if name in self._source.topics])
        given_away = await self._given_away()
        decided = set()
        for name, config in sorted(there.items()):
            mirror = by_name[name]
            policy = {key: value for key, value in effective_of(config).items() if key in _POLICIES}
            described = self._source.topics.get(name)  # others describe the source, too: it may be gone by now
            same = described is not None and described.topic_id == mirror.source_topic_id
            if same and ("compact" in policy.get(_POLICY, "") or name not in given_away):
                decided.add(name)
            if not same or "compact" not in policy.get(_POLICY, ""):
                continue
            await self._admins[1].alter_configs(recorded(mirror.target_topic, mirror.target_topic_id), policy)
            log.warning("topic was opened before it was compacted, made good", topic=mirror.target_topic, set=policy)
        return {mirror.target_topic for name, mirror in by_name.items() if name not in decided}


def _report_held_back(mirror: pb.MirrorRecord, config: TopicConfig) -> None:
    """Report settings of ours that an opened mirror still has and its source had otherwise."""
    to_set, remove = at_promotion(mirror.managed, mirror.held_back, config.dynamic)
    ours = {name for name, value in config.dynamic.items() if mirror.managed.get(name) == value}
    left = {name: value for name, value in to_set.items() if name in ours}
    if left or remove:
        log.warning(
            "an opened topic still has settings of a mirror",
            topic=mirror.target_topic,
            next=_command(mirror.target_topic, left, remove),
        )


def _command(topic: str, to_set: Mapping[str, str], remove: Iterable[str]) -> str:
    """Return the command of Kafka's own tool that makes this change."""
    command = f"kafka-configs --alter --topic {topic}"
    if to_set:
        command += " --add-config " + ",".join(f"{name}=[{value}]" for name, value in sorted(to_set.items()))
    if remove:
        command += " --delete-config " + ",".join(remove)
    return command
