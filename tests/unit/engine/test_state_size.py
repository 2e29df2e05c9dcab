"""What is written to a state topic is as small as its broker wants it, and whole at every prefix of the writing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from google.protobuf.message import DecodeError

from replicator.engine.state import records as state
from replicator.engine.state.journal import copy_key, copy_of, journal_key, put_copy, put_switches, switches_of
from replicator.engine.state.topic.chunks import BATCH_BYTES_MAX, Change, note_of
from replicator.engine.state.topic.log import StateLog
from replicator.engine.switch.changes import change_switches
from replicator.errors import BrokerRefused, KafkaError
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Cut, End, Outcome, StepName, StepRecord, Verb
from replicator.state_pb import state_pb2 as pb
from replicator.wire.batches.batch import scan
from replicator.wire.batches.records import decode
from replicator.wire.cluster import Purpose
from tests.unit.engine.state_broker import StateBroker, log_on

UID = "f-uid"
BROKER_BYTES_MAX = 1_048_588
PARTITIONS = 20_000


@pytest.fixture
async def broker() -> AsyncIterator[StateBroker]:
    """A broker with Kafka's own limit."""
    made = StateBroker(BROKER_BYTES_MAX)
    await made.open()
    yield made
    made.close()


def mirrors(count: int, mode: str) -> list[Change]:
    """Return changes that record mirrors of half a kilobyte each."""
    settings = {f"setting.number.{number}": "x" * 20 for number in range(10)}
    return [
        state.put(
            state.mirror_key(UID, f"orders.{number}"),
            pb.MirrorRecord(owner_flow_uid=UID, target_topic=f"orders.{number}", mode=mode, managed=settings),
        )
        for number in range(count)
    ]


def modes(log: StateLog) -> list[str]:
    """Return the modes of all mirrors that a daemon knows."""
    return [one.mode for one in state.mirrors_of(log.records, UID)]


def switch(partitions: int = PARTITIONS, at: int = 0) -> Journal:
    """Return a switch behind its fence, with what no codec makes small."""
    chance = random.Random(at)  # noqa: S311 - numbers that do not compress
    places = [
        (f"orders.of.all.our.shops.{number // 10}", number % 10, chance.getrandbits(40)) for number in range(partitions)
    ]
    return Journal(
        "20260101-120000-abcdef",
        Verb.FAILOVER,
        "f",
        reached=StepName.VERIFY_FENCE,
        history=(StepRecord(StepName.VERIFY_FENCE, 1, "d"),),
        ends=tuple(sorted(End(topic, number, end, identical=True) for topic, number, end in places)),
        cuts=tuple(
            sorted(Cut(topic, number, end, end, topic, observed_end=end + 5, observed_ms=at, tail_end=end + 9)
            for topic, number, end in places)
        ),
        topic_ids=tuple(sorted({topic: f"{chance.getrandbits(128):x}" for topic, _, _ in places}.items())),
        revision=at,
    )  # fmt: skip


async def test_thousands_of_mirrors_are_recorded(broker: StateBroker) -> None:
    """They went into one batch of more than 1 MB, which no broker takes, and the flow never started."""
    log = await log_on(broker)
    await log.change(UID, lambda _: mirrors(3000, "identical"))

    assert modes(log) == ["identical"] * 3000
    assert sum(broker.produced) > BROKER_BYTES_MAX
    assert max(broker.produced) <= BATCH_BYTES_MAX


@pytest.mark.parametrize("how", ["change", "append"])
async def test_a_topic_that_takes_less_gets_less(broker: StateBroker, how: str) -> None:
    """Who may not look at its settings learns it from the refusal."""
    broker.batch_bytes_max = 20_000
    log = await log_on(broker)
    if how == "change":
        await log.change(UID, lambda _: mirrors(300, "identical"))
    else:
        await log.append(mirrors(300, "identical"))
        await log.read_to_end()

    assert len(modes(log)) == 300
    assert max(broker.produced) <= 20_000


async def test_a_known_limit_is_kept_from_the_first_batch_on(broker: StateBroker) -> None:
    """No refusal is needed where the topic's settings were read."""
    broker.batch_bytes_max = 50_000
    log = await log_on(broker)
    log.learn_limit(50_000)
    await log.append(mirrors(300, "identical"))

    assert max(broker.produced) <= 50_000


async def test_a_topic_that_takes_next_to_nothing_is_refused_by_name(broker: StateBroker) -> None:
    """It is not tried for ever."""
    broker.batch_bytes_max = 100
    log = await log_on(broker)
    with pytest.raises(BrokerRefused, match="MESSAGE_TOO_LARGE"):
        await log.append(mirrors(30, "identical"))
    with pytest.raises(BrokerRefused, match="MESSAGE_TOO_LARGE"):
        await log.change(UID, lambda _: mirrors(30, "identical"))


async def test_a_change_in_several_batches_shows_as_one(broker: StateBroker) -> None:
    """A follower that reads batch by batch saw the first of them as if that were all."""
    log = await log_on(broker)
    await log.change(UID, lambda _: mirrors(3000, "identical"))
    broker.answer_bytes = 1
    follower = await log_on(broker)
    await follower.read_to_end()
    await log.change(UID, lambda _: mirrors(3000, "mapped"))
    assert len(broker.produced) > 5
    seen = set()
    while follower.position < log.position:
        connection = await follower.topic.connection(Purpose.STATE)
        await follower._read(connection, wait_ms=0)
        seen.add(tuple(sorted(set(modes(follower)))))

    assert seen == {("identical",), ("mapped",)}


@pytest.mark.parametrize("batches", range(6))
async def test_a_change_that_is_interrupted_anywhere_never_was(broker: StateBroker, batches: int) -> None:
    """A daemon dies in the middle: whoever changes something next finds what stood before, all of it."""
    log = await log_on(broker)
    await log.change(UID, lambda _: mirrors(600, "identical"))
    broker.stop_at = batches
    daemon = await log_on(broker)
    daemon.learn_limit(50_000)
    dying = asyncio.create_task(daemon.change(UID, lambda _: mirrors(600, "mapped")))
    done = asyncio.ensure_future(broker.stopped.wait())
    await asyncio.wait({done, dying}, return_when=asyncio.FIRST_COMPLETED)
    done.cancel()
    dying.cancel()
    assert broker.stopped.is_set(), "there are as many batches, or more"
    broker.stop_at = None

    fresh = await log_on(broker)
    after = await fresh.change(UID, lambda _: [state.put(state.start_key(UID), pb.StartRecord())])
    assert set(modes(fresh)) == {"identical"}
    assert state.start_key(UID) in after


# -- one record that is larger than any batch --------------------------------------------------------------------------


async def test_a_switch_of_twenty_thousand_partitions_is_recorded(broker: StateBroker) -> None:
    """It met the broker's limit behind the fence, where there is no way back."""
    log = await log_on(broker)
    journal = switch()
    assert len(put_switches(UID, Switches(journal))[0][1] or b"") > BROKER_BYTES_MAX
    await change_switches(log, UID, lambda _: Switches(journal))
    await log.change(UID, lambda _: [put_copy(UID, journal)])

    fresh = await log_on(broker)
    await fresh.read_to_end()
    assert switches_of(fresh.records, UID).current == journal
    assert copy_of(fresh.records, UID) == journal
    assert max(broker.produced) <= BATCH_BYTES_MAX


async def test_a_large_record_is_the_old_one_or_the_new_one_at_every_prefix(broker: StateBroker) -> None:
    """Also where it is appended without a transaction."""
    log = await log_on(broker)
    log.learn_limit(10_000)
    first, second = switch(2000, at=1), switch(2000, at=2)
    await log.append(put_switches(UID, Switches(first)))
    await log.read_to_end()
    written = len(broker.batches)
    await log.append(put_switches(UID, Switches(second)))
    whole = list(broker.batches)
    shown = []
    for count in range(written, len(whole) + 1):
        broker.batches = whole[:count]
        broker._end = scan(bytearray(whole[count - 1]), 0, len(whole[count - 1]))[0].next_offset
        fresh = await log_on(broker)
        await fresh.read_to_end()
        current = switches_of(fresh.records, UID).current
        assert current is not None
        shown.append(current.revision)

    assert len(shown) > 5
    assert shown == sorted(shown)
    assert set(shown) == {1, 2}


async def test_parts_of_values_that_are_gone_are_taken_away(broker: StateBroker) -> None:
    """The topic would grow with every change of a journal."""
    log = await log_on(broker)
    log.learn_limit(10_000)
    for value in (switch(1000, at=1), switch(1000, at=2), switch(10, at=3)):
        await change_switches(log, UID, lambda _, value=value: Switches(value))  # type: ignore[misc]
    assert switches_of(log.records, UID).current == switch(10, at=3)
    assert not log._view._parts
    await change_switches(log, UID, lambda _: Switches(switch(1000, at=4)))
    assert log._view._parts
    await log.change(UID, lambda _: [(journal_key(UID), None)])

    assert (dict(log.records), log._view._parts, log._view.notes) == ({}, {}, {})


async def test_an_earlier_version_shows_a_switch_in_parts_and_carries_nothing_out(broker: StateBroker) -> None:
    """It reads the head alone, which has a word that it does not know."""
    log = await log_on(broker)
    journal = switch()
    await log.append([*put_switches(UID, Switches(journal)), put_copy(UID, journal)])
    heads = {
        record.key: record.value
        for raw in broker.batches
        for record in decode(raw, scan(bytearray(raw), 0, len(raw))[0])
        if record.key in {journal_key(UID), copy_key(UID)} and record.value is not None
    }
    assert all(note_of(value) is not None for value in heads.values())
    for shown in (switches_of(heads, UID).current, copy_of(heads, UID)):
        assert shown is not None
        assert (shown.id, shown.verb, shown.outcome, shown.reached) == (
            journal.id, Verb.FAILOVER, Outcome.RUNNING, StepName.VERIFY_FENCE,
        )  # fmt: skip
        assert shown.unknown_words == ("in_parts",)


async def test_an_earlier_version_takes_another_record_in_parts_for_damaged(broker: StateBroker) -> None:
    """Read as an empty one it would be changed, and what the parts hold would be lost."""
    log = await log_on(broker)
    record = pb.MirrorRecord(target_topic="t", held_back={f"s{n}": "x" * 10_000 for n in range(60)})
    await log.append([state.put(state.mirror_key(UID, "t"), record)])
    head = broker.batches[-1]
    value = decode(head, scan(bytearray(head), 0, len(head))[0])[-1].value or b""
    with pytest.raises(DecodeError):
        pb.MirrorRecord.FromString(value)
    await log.read_to_end()

    assert state.get_mirror(log.records, UID, "t") == record


async def test_a_value_that_lacks_a_part_is_damaged_and_never_an_older_one(broker: StateBroker) -> None:
    """A cleaner, or an unclean election, took what is needed."""
    log = await log_on(broker)
    log.learn_limit(10_000)
    await log.append(put_switches(UID, Switches(switch(1000))))
    del broker.batches[1]
    fresh = await log_on(broker)
    await fresh.read_to_end()

    current = switches_of(fresh.records, UID).current
    assert current is not None
    assert current.unknown_words == ("in_parts",)


async def test_a_value_beyond_all_measure_is_refused_by_name(broker: StateBroker) -> None:
    """Nobody could put it together again."""
    log = await log_on(broker)
    record = pb.StartRecord(topics=bytes((64 << 20) + 1))
    with pytest.raises(KafkaError, match="KIND_START has"):
        await log.append([state.put(state.start_key(UID), record)])
