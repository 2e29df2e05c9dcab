"""Which settings a pass over topics asks of a target, and when it asks no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from replicator.admin.topic_values import ConfigValue, TopicConfig
from replicator.core.topics.ownership import OwnedTopic, created
from replicator.engine.state import records as state
from replicator.engine.state.ownership.owners import Owners
from replicator.engine.topics.sync import TopicSync
from replicator.errors import AuthorizationFailed
from replicator.model.names import STATE_TOPIC
from replicator.state_pb import state_pb2 as pb
from tests.unit.engine.test_chosen import FLOW, UID, Log, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from replicator.admin.topics import TopicAdmin
    from replicator.engine.state.topic.log import StateLog

BEFORE, DIFFERENCE = "message.timestamp.before.max.ms", "message.timestamp.difference.max.ms"
OLD = ("cleanup.policy", "compression.type", DIFFERENCE)


class Settings:
    """The settings of one side's topics, of a version that knows some names."""

    def __init__(self, side: Side, known: Iterable[str] = (), *, tells: bool = True) -> None:
        self.topics: dict[str, dict[str, str]] = {}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.on_change: Callable[[str], None] = lambda _name: None
        self._side, self._known, self._tells = side, tuple(known), tells

    async def describe_configs(self, names: Iterable[str], _refused: object = None) -> dict[str, TopicConfig]:
        """Return those of topics that are there; of the state topic if that is allowed."""
        wanted = list(names)
        if wanted == [STATE_TOPIC] and not self._tells:
            raise AuthorizationFailed("no", cluster="west", why="", next_step="kafka-acls.sh")
        effective = {name: ConfigValue("", "default_config") for name in self._known}
        return {
            name: TopicConfig(name, self.topics.get(name, {}), effective)
            for name in wanted
            if name in self._side.topics or name == STATE_TOPIC
        }

    async def create_topic(
        self, name: str, partitions: int, _replicas: int, configs: Mapping[str, str], **_: object
    ) -> OwnedTopic:
        """Create it, if every name is known."""
        assert configs.keys() <= {*self._known, "message.timestamp.type"}, "an unknown name refuses the topic"
        self.topics[name] = dict(configs)
        self._side.add(name, partitions=partitions)
        return created(name, self._side.topics[name].topic_id)

    async def alter_configs(self, topic: OwnedTopic, values: Mapping[str, str], _delete: object = ()) -> None:
        """Note it."""
        self.asked.append((topic.name, values))
        self.topics[topic.name] |= values
        self.on_change(topic.name)


def sync(log: Log, target: Side, here: Settings, *names: str) -> tuple[TopicSync, Settings]:
    """Return the topics of a flow, and the settings of its source."""
    source = Side("east")
    source.add(*names)
    there = Settings(source)
    admins = cast("tuple[TopicAdmin, TopicAdmin]", (there, here))
    state_log = cast("StateLog", log)
    owners = Owners(FLOW, UID, state_log, 30.0, lambda: 0.0)
    return TopicSync(FLOW, UID, source, target, admins, state_log, owners), there


async def test_the_state_topic_tells_what_an_old_target_knows() -> None:
    """Before the first mirror is made, as one unknown name refuses it."""
    target = Side("west")
    here = Settings(target, OLD)
    topics, _ = sync(Log(), target, here, "t")
    await topics.run_pass(configs=True)
    assert topics.mirrors["t"].fault is None
    assert DIFFERENCE in here.topics["t"]
    assert BEFORE not in here.topics["t"]
    assert here.asked == []


async def test_a_target_that_does_not_tell_gets_the_rest_once_a_topic_exists() -> None:
    """Nothing is guessed: what every version knows first, the others in the same pass."""
    target = Side("west")
    here = Settings(target, OLD, tells=False)
    topics, _ = sync(Log(), target, here, "t")
    await topics.run_pass(configs=True)
    assert topics.mirrors["t"].fault is None
    assert [(name, set(values)) for name, values in here.asked] == [("t", {DIFFERENCE})]


async def test_a_pass_changes_nothing_of_what_is_opened_meanwhile() -> None:
    """A pass may take minutes: of two topics the first is changed, then the fence begins."""
    log, target = Log(), Side("west")
    here = Settings(target, OLD)
    topics, there = sync(log, target, here, "a", "b")
    await topics.run_pass(configs=True)
    there.topics = {name: {"cleanup.policy": "compact"} for name in ("a", "b")}

    def fence(_name: str) -> None:
        record = pb.WriterRecord(producer_id=1, epoch=1, role=pb.WRITER_ROLE_FENCING)
        key, value = state.put(state.writer_key(UID), record)
        log.records[key] = value or b""

    here.asked.clear()
    here.on_change = fence
    await topics.run_pass(configs=True)
    assert [name for name, _ in here.asked] == ["a"]
