"""Signals: a drain on SIGTERM, a reload on SIGHUP."""

from __future__ import annotations

from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, assert_equal, create, wait_until
from tests.integration.load import Load, numbered, produce


def test_sigterm_drains(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Under load it ends by itself, with exit code 0, and the next start goes on at once."""
    create(east, topic_name, 6)
    daemon = lab.daemon(east, west, topic_name).start()
    with Load(east, {topic_name: 6}, per_second=5000) as load:
        wait_until("it copies", lambda: daemon.metric("replicator_records_total") > 3000)
        assert daemon.stop() == 0
        assert "not everything was acknowledged" not in daemon.log_tail()
        daemon.start()

    load.check(topic_name, assert_equal(east, west, topic_name))


def test_sighup_reloads(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """A new pattern is followed; a file with mistakes changes nothing, and says so."""
    first, second = f"{topic_name}-first", f"{topic_name}-second"
    for topic in (first, second):
        create(east, topic)
        produce(east, topic, numbered(20))
    daemon = lab.daemon(east, west, first).start()
    assert_equal(east, west, first)
    assert daemon.mirror(second) == {}

    daemon.file.write_text(daemon.file.read_text().replace('"include"', '"inklude"'))
    daemon.reload()
    wait_until("it says so", lambda: daemon.metric("replicator_config_reload_success") == 0)
    assert "inklude" in daemon.log_tail()
    produce(east, first, numbered(20, 20))
    assert_equal(east, west, first)

    daemon.document["flows"][lab.flow]["topics"]["include"].append(second)
    daemon.write()
    daemon.reload()
    wait_until("it took the file", lambda: daemon.metric("replicator_config_reload_success") == 1)
    assert_equal(east, west, second)
    produce(east, first, numbered(20, 40))
    assert_equal(east, west, first)
