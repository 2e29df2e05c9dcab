"""Consumer groups follow on real brokers; confluent-kafka and Kafka's own tools say where they stand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition as Position

from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.model.status.groups import Committed
from tests.integration.corpus.transactional import transactional, transactions
from tests.integration.group_tools import (
    commit_raw,
    commits_raw,
    described,
    listed,
    member,
    next_record,
    positions,
    tool,
    tool_offsets,
    wait_group,
    wait_positions,
)
from tests.integration.harness import Lab
from tests.integration.kafka_client import (
    Kafka,
    admin,
    bounds,
    commit,
    create,
    delete_below,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import numbered, produce

EVERY = "500ms"


@pytest.mark.long
def test_groups_of_every_protocol_follow_both_ways(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Through markers and aborted records, under another name; new members go on at the copy of the next record."""
    create(east, topic_name, 2)
    transactions(east, topic_name, 40, 2, f"{topic_name}-a")
    there = read_all(east, topic_name, isolation=Isolation.READ_COMMITTED)
    here = f"east.{topic_name}"
    places = [there[0][3].offset, there[1][5].offset]
    classic, modern, streams = (f"{topic_name}-{kind}" for kind in ("classic", "modern", "streams"))
    odd = "\x00\x01é€" + "x" * 3000
    commit_raw(
        east, streams, {TopicPartition(topic_name, at): Committed(place, odd, 3) for at, place in enumerate(places)}
    )
    daemon = lab.daemon(
        east,
        west,
        topics={"include": [topic_name], "rename": {"prefix": "east."}},
        groups={"include": [{"prefix": topic_name}], "sync_every": EVERY},
    )

    with member(east, classic, topic_name) as one, member(east, modern, topic_name, "consumer") as other:
        for each in (one, other):
            each.commit(
                offsets=[Position(topic_name, at, place) for at, place in enumerate(places)], asynchronous=False
            )
        daemon.start()
        for group in (classic, modern, streams):
            wait_positions(west, group, here, places)
        assert wait_group(daemon, modern, "in_step")["kind"] == "consumer"
        found = wait_group(daemon, classic, "in_step")
        assert (found["kind"], found["source_state"], found["reread_records"]) == ("classic", "Stable", 0)
    assert set(commits_raw(west, streams).values()) == {Committed(place, odd, -1) for place in places}
    assert tool_offsets(west, "ConsumerGroupCommand", classic, "CURRENT-OFFSET") == {
        (here, at): place for at, place in enumerate(places)
    }

    # Offsets in a transaction count once it is committed, and never where it is aborted.
    ends = [end for _, end in bounds(east, topic_name).values()]
    for group, ending in ((classic, "commit"), (modern, "abort")):
        with transactional(east, f"{topic_name}-{ending}") as producer, member(east, group, topic_name) as one:
            producer.begin_transaction()
            producer.produce(topic_name, b"output", partition=0)
            metadata = one.consumer_group_metadata()
            producer.send_offsets_to_transaction([Position(topic_name, 1, ends[1])], metadata, 30)
            getattr(producer, f"{ending}_transaction")(30)
    wait_positions(west, classic, here, [places[0], ends[1]])
    wait_copied(east, west, topic_name, to=here)
    assert positions(west, modern, here, 2) == places

    assert next_record(west, modern, here, "consumer", 1) == there[1][5].value
    assert next_record(west, streams, here, "classic", 0) == there[0][3].value

    # A reset: the target follows backward too.
    commit(east, classic, topic_name, {0: there[0][1].offset, 1: there[1][0].offset})
    wait_positions(west, classic, here, [there[0][1].offset, there[1][0].offset])
    assert next_record(west, classic, here, "consumer", 0) == there[0][1].value


@pytest.mark.long
def test_mapped_offsets_and_log_starts(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Commits are written where the copy of the next record stands, and never below the target's log start."""
    create(east, topic_name)
    transactions(east, topic_name, 30, 1, f"{topic_name}-a")
    there = read_all(east, topic_name, isolation=Isolation.READ_COMMITTED)[0]
    group, low = f"{topic_name}-group", f"{topic_name}-low"
    commit(east, group, topic_name, {0: there[7].offset})
    daemon = lab.daemon(
        east, west, topic_name, offsets="mapped", groups={"include": [{"prefix": topic_name}], "sync_every": EVERY}
    ).start()

    wait_positions(west, group, topic_name, [7])
    commit(east, group, topic_name, {0: there[-1].offset + 1})
    wait_positions(west, group, topic_name, [len(there)])

    # As Java's consumer commits once it has read behind the last marker.
    commit(east, group, topic_name, {0: 0})
    wait_positions(west, group, topic_name, [0])
    commit(east, group, topic_name, {0: bounds(east, topic_name)[0][1]})
    wait_positions(west, group, topic_name, [len(there)])

    delete_below(west, topic_name, 4)
    commit(east, low, topic_name, {0: there[1].offset})
    wait_positions(west, low, topic_name, [4])
    assert wait_group(daemon, low, "in_step")["partitions"][0]["reread_records"] == 0


def test_a_group_that_is_used_on_the_target_is_left_alone(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """While it has members there, and where somebody else has committed; deleting the commits hands it back."""
    create(east, topic_name)
    produce(east, topic_name, numbered(50))
    create(east, f"{topic_name}-not")
    group = f"{topic_name}-group"
    commit(east, group, topic_name, {0: 10})
    commit(east, group, f"{topic_name}-not", {0: 0})
    daemon = lab.daemon(east, west, topic_name, groups={"include": [group], "sync_every": EVERY}).start()
    wait_positions(west, group, topic_name, [10])
    assert wait_group(daemon, group, "in_step")["unmirrored"] == 1

    for protocol in ("classic", "consumer"):
        before = positions(west, group, topic_name)
        with member(west, group, topic_name, protocol):
            commit(east, group, topic_name, {0: before[0] + 5})
            found = wait_group(daemon, group, "active_on_target", source_offset=before[0] + 5)
            assert found["partitions"][0]["target_offset"] == before[0]
            assert found["partitions"][0]["reread_records"] == 5
            assert positions(west, group, topic_name) == before
        wait_positions(west, group, topic_name, [before[0] + 5])

    commit(west, group, topic_name, {0: 33})
    commit(east, group, topic_name, {0: 40})
    found = wait_group(daemon, group, "changed_on_target", source_offset=40)
    assert "33 was committed there by somebody else, 20 was ours" in found["partitions"][0]["detail"]
    assert positions(west, group, topic_name) == [33]
    assert daemon.metric("replicator_group_held_back") == 1

    for done in admin(west).delete_consumer_groups([group]).values():
        done.result(30)
    wait_positions(west, group, topic_name, [40])
    assert wait_group(daemon, group, "in_step")["reread_records"] == 0


def test_a_group_never_overtakes_its_output(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Its output cannot be copied yet (a transaction is open before it): its commit waits, and says for what."""
    source, output, group = f"{topic_name}-in", f"{topic_name}-out", f"{topic_name}-group"
    for topic in (source, output):
        create(east, topic)
        produce(east, topic, numbered(10))
    commit(east, group, source, {0: 3})
    daemon = lab.daemon(east, west, source, output, groups={"include": [group], "sync_every": EVERY}).start()
    wait_positions(west, group, source, [3])
    wait_copied(east, west, output)

    with transactional(east, f"{topic_name}-open") as producer:
        producer.begin_transaction()
        producer.produce(output, b"open", partition=0)
        assert producer.flush(30) == 0
        produce(east, output, numbered(5, 10))
        commit(east, group, source, {0: 8})
        wait_group(daemon, group, "waiting", source_offset=8, reread_records=5)
        # It waits for the end that was read with the commits, which may have been that of the open record alone.
        ends = [f"{output}-0 copied up to 10 of {end}" for end in (11, 16)]
        wait_until("it says for what", lambda: any(end in (described(daemon, group)["detail"] or "") for end in ends))
        assert positions(west, group, source) == [3]
        assert bounds(west, output)[0] == (0, 10)
        # What was read while it waited does not get past it either.
        commit(east, group, source, {0: 9})
        wait_group(daemon, group, "waiting", source_offset=9)
        assert positions(west, group, source) == [3]
        producer.commit_transaction(30)
    wait_positions(west, group, source, [9])
    assert bounds(west, output)[0][1] >= 16
    assert listed(daemon)["detail"] is None


@pytest.mark.long
def test_another_daemon_goes_on(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """With an empty state directory it knows what the killed one wrote; two at once write no two things."""
    create(east, topic_name)
    produce(east, topic_name, numbered(50))
    group, gone = f"{topic_name}-group", f"{topic_name}-gone"
    for name in (group, gone):
        commit(east, name, topic_name, {0: 10})
    sync = {"include": [{"prefix": topic_name}], "sync_every": EVERY}
    first = lab.daemon(east, west, topic_name, groups=sync).start()
    for name in (group, gone):
        wait_positions(west, name, topic_name, [10])
    first.kill()
    commit(east, group, topic_name, {0: 5})
    for done in admin(east).delete_consumer_groups([gone]).values():
        done.result(30)

    second = lab.daemon(east, west, topic_name, groups=sync).start()
    wait_positions(west, group, topic_name, [5])
    found = wait_group(second, gone, "gone_on_source", source_offset=None)
    assert found["partitions"][0]["target_offset"] == 10

    third = lab.daemon(east, west, topic_name, groups=sync).start()
    commit(east, group, topic_name, {0: 20})
    wait_positions(west, group, topic_name, [20])
    for daemon in (second, third):
        assert wait_group(daemon, group, "in_step")["partitions"][0]["target_offset"] == 20
        assert "somebody else" not in daemon.log_file.read_text()


@pytest.mark.long
def test_start_offsets_of_share_groups_follow(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """As Kafka's own tool sets them on one side and shows them on the other."""
    create(east, topic_name)
    produce(east, topic_name, numbered(20))
    group, taken = f"{topic_name}-share", f"{topic_name}-taken"
    reset = ("--bootstrap-server", east.bootstrap, "--reset-offsets", "--topic", topic_name, "--execute")
    for name in (group, taken):
        tool("ShareGroupCommand", *reset, "--to-earliest", "--group", name)
    daemon = lab.daemon(east, west, topic_name, groups={"include": [{"prefix": topic_name}], "sync_every": EVERY})
    daemon.start()
    assert wait_group(daemon, group, "in_step", target_offset=0)["kind"] == "share"
    tool("ShareGroupCommand", *reset, "--to-latest", "--group", group)
    wait_group(daemon, group, "in_step", target_offset=20)

    assert tool_offsets(west, "ShareGroupCommand", group, "START-OFFSET") == {(topic_name, 0): 20}


@pytest.fixture(autouse=True)
def _no_leftovers(east: Kafka, west: Kafka, topic_name: str) -> Iterator[None]:
    yield
    for cluster in (east, west):
        names = [one.group_id for one in admin(cluster).list_consumer_groups().result(30).valid]
        mine = [name for name in names if name.startswith(topic_name)]
        for done in admin(cluster).delete_consumer_groups(mine).values() if mine else ():
            done.exception(30)
