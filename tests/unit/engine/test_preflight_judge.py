"""What the facts of a preflight mean."""

from __future__ import annotations

import pytest

from replicator.core.acl.rights import Operation
from replicator.core.copy.writing.producer_memory import EXPIRATION, EXPIRATION_BEFORE_3_4, ProducerMemory
from replicator.engine.preflight import judge, judge_rights, phrases
from replicator.engine.state.ownership.shown_markers import Shown
from replicator.model.names import TopicPartition
from replicator.model.operations.report import Level, Report, Section, fail, ok, to_json, warn
from replicator.model.security import ClusterSpec
from replicator.wire.messages.questions import Found, Refusal
from replicator.wire.messages.rights_probe import Verdict

WEST = ClusterSpec("west", (("w", 9092),))
HOUR, DAY = 3_600_000, 86_400_000
A, B = TopicPartition("a", 0), TopicPartition("b", 1)
GRANT = (
    "kafka-acls.sh --bootstrap-server w:9092 --add --allow-principal User:ANONYMOUS --operation ClusterAction --cluster"
)


def test_long_lists_are_cut() -> None:
    """A flow of thousands of topics still fits a line or two."""
    assert phrases.some([f"t{at:02}" for at in range(12)]).endswith("t09 and 2 more")
    assert phrases.some({"b", "a"}) == "a, b"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(-5, "0 min"), (45 * 60_000, "45 min"), (23 * HOUR, "23 h"), (judge.EXPIRATION_MAX_MS, "24.9 days")],
)
def test_spans_are_in_the_unit_that_suits(milliseconds: int, text: str) -> None:
    """Nobody reads milliseconds."""
    assert phrases.span(milliseconds) == text


def test_a_selection_without_topics_is_yellow() -> None:
    """They may appear later."""
    assert judge.selected([], 0, 0).level is Level.WARN
    assert judge.selected(["a"], 1, 5).text == "1 topic, 1 partition, 5 offsets to copy: a"


@pytest.mark.parametrize(
    ("verdict", "level", "words", "fix"),
    [
        (Verdict.ALLOWED, Level.OK, "by WriteTxnMarkers, which west allows; a, b: ", ""),
        (Verdict.REFUSED, Level.WARN, "about 30 a second: west does not allow WriteTxnMarkers, the fast way", GRANT),
        (Verdict.OTHER, Level.WARN, "by WriteTxnMarkers if west allows it, which it does not say; else by empty", ""),
        (Verdict.NOT_OFFERED, Level.WARN, "about 30 a second: west does not offer WriteTxnMarkers; a, b: ", ""),
    ],
)
def test_the_way_of_fills_is_told_where_there_are_any(verdict: Verdict, level: Level, words: str, fix: str) -> None:
    """The slow one is yellow, with the command that opens the fast one where there is such a command."""
    (found,) = judge.fills({"b", "a"}, verdict, WEST)
    assert (found.level, found.fix) == (level, fix)
    assert words in found.text
    assert judge.fills((), verdict, WEST) == []


def test_times_of_the_broker_are_no_cause_for_alarm() -> None:
    """They are kept; what differs for a while is said."""
    (found,) = judge.stamped({"s"})
    assert (found.level, "stays CreateTime until promotion" in found.text) == (Level.OK, True)
    assert judge.stamped(()) == []


def test_fillers_that_readers_see_are_red_with_the_command_that_hides_them() -> None:
    """Each partition with the offset of its first copied record."""
    assert judge.visible_fillers({}, WEST) == []
    (found,) = judge.visible_fillers({A: 60_000}, WEST)
    assert found.level is Level.FAIL
    assert '{"topic": "a", "partition": 0, "offset": 60000}' in found.fix


def test_refused_creations_are_told_by_reason() -> None:
    """A missing right with its command, a policy with the broker's words; the others can be created."""
    refusals = {"a": Refusal(29, ""), "b": Refusal(44, "no"), "c": Refusal(44, "no")}
    found = judge.creations(refusals, 5, WEST)
    assert [check.level for check in found] == [Level.FAIL, Level.FAIL, Level.OK]
    assert found[0].fix.endswith("--operation Create --topic a")
    assert "b, c: no" in found[1].text
    assert judge.creations({}, 0, WEST) == []


def test_rights_are_compared_where_the_cluster_tells() -> None:
    """Red with a command, green, or said to be unknown; nothing where there was no topic."""
    all_of_them = frozenset(Operation)
    assert [check.level for check in judge_rights.mirror_rights({"a": all_of_them}, WEST)] == [Level.OK]
    lack = judge_rights.mirror_rights({"a": all_of_them, "b": all_of_them - {Operation.WRITE}}, WEST)
    assert [(check.level, check.text) for check in lack] == [(Level.FAIL, "west does not allow Write on b")]
    assert "does not say" in judge_rights.source_rights({"a": None}, WEST)[0].text
    assert judge_rights.state_rights({}, WEST) == []
    assert judge_rights.transactional_id(WEST, allowed=True) == ()
    assert "replicator." in judge_rights.transactional_id(WEST, allowed=False)[0].fix
    assert judge_rights.rights_of_cluster(None, WEST) == ()
    assert judge_rights.rights_of_cluster(frozenset({"DESCRIBE_CONFIGS"}), WEST) == ()
    assert judge_rights.rights_of_cluster(frozenset({"DESCRIBE"}), WEST)[0].level is Level.FAIL


def memory(*told_ms: int, setting: str = EXPIRATION) -> ProducerMemory:
    """Return what brokers 1, 2, ... tell."""
    return ProducerMemory(dict(enumerate(told_ms, 1)), setting=setting)


@pytest.mark.parametrize(
    ("told", "level", "word"),
    [
        (memory(), Level.OK, "not reported"),
        (memory(DAY), Level.OK, "23 h"),
        (memory(HOUR), Level.WARN, "too short"),
        (
            memory(3 * DAY, 2 * DAY),
            Level.WARN,
            "the shortest counts (broker 1: 259,200,000 ms, broker 2: 172,800,000 ms)",
        ),
    ],
)
def test_the_guard_in_plain_words(told: ProducerMemory, level: Level, word: str) -> None:
    """What the brokers remember, less an hour."""
    found = judge.guard(told, WEST)
    assert (found.level, word in found.text) == (level, True)


def test_an_old_backlog_comes_with_the_setting_that_guards_it() -> None:
    """Up to what Kafka takes; nothing where all is guarded."""
    found = judge.backlog({A: 5, B: 0}, 30 * HOUR, memory(DAY), WEST)
    assert found is not None
    assert found.text.startswith("5 offsets in 1 partition are older than the guard, the oldest 30 h")
    assert found.fix.endswith(f"producer.id.expiration.ms={55 * HOUR}")
    at_most = judge.backlog({A: 5}, 90 * DAY, memory(judge.EXPIRATION_MAX_MS), WEST)
    assert at_most is not None
    assert not at_most.fix
    assert judge.backlog({A: 0}, None, memory(DAY), WEST) is None
    assert judge.needed_expiration(None) == judge.needed_expiration(90 * DAY) == judge.EXPIRATION_MAX_MS


def test_before_kafka_3_4_another_setting_counts_and_no_command_changes_it() -> None:
    """Brokers that lack a setting must not be told to raise it."""
    found = judge.backlog({A: 5}, 30 * HOUR, memory(DAY, setting=EXPIRATION_BEFORE_3_4), WEST)
    assert found is not None
    assert (
        found.fix
        == f"set transactional.id.expiration.ms={55 * HOUR} in each broker's server.properties, then restart it"
    )


def test_what_is_older_counts_from_where_the_copy_is() -> None:
    """Up to the first guarded record, or to the end where there is none."""
    ends = {A: Found(100, -1), B: Found(50, -1)}
    cut = {A: Found(30, 1), B: Found(-1, -1)}
    assert judge.older_than_guard({A: 10, B: 20}, ends, cut) == {A: 20, B: 30}
    assert judge.older_than_guard({A: 40}, ends, cut) == {A: 0}
    assert judge.older_than_guard({A: 40}, ends, {}) == {}


def test_records_ahead_of_our_clock_are_told() -> None:
    """A hint, no more."""
    assert judge.clocks({A: Found(-1, -1)}) is None
    found = judge.clocks({A: Found(7, 1)})
    assert found is not None
    assert "a-0" in found.text


def test_without_describe_producers_it_is_yellow() -> None:
    """It works, by the log alone."""
    assert judge.producers(WEST, Shown.NOT_OFFERED).level is Level.WARN
    assert judge.producers(WEST, Shown.YES).level is Level.OK
    assert "and in the log" in judge.producers(WEST, Shown.YES, in_log=True).text


def test_whether_markers_are_shown_is_not_known_before_one_was_written() -> None:
    """It said ok before the first start, whatever the target was."""
    unknown = judge.producers(WEST, Shown.UNKNOWN)
    assert unknown.level is Level.WARN
    assert "unknown whether" in unknown.text
    assert "checked at the first start, before a partition is filled" in unknown.text
    assert judge.producers(WEST, Shown.NO).level is Level.FAIL


def test_one_red_finding_refuses() -> None:
    """Yellow ones do not."""
    assert Report((Section("s", (ok("a", ""), warn("b", ""))),)).passed
    report = Report((Section("s", (ok("a", ""), fail("b", "why", "do"))),))
    assert not report.passed
    assert [check.name for check in report.failures()] == ["b"]
    assert to_json(report) == {
        "passed": False,
        "ok": 1,
        "warn": 0,
        "fail": 1,
        "sections": [
            {
                "title": "s",
                "checks": (
                    {"level": Level.OK, "name": "a", "text": "", "fix": ""},
                    {"level": Level.FAIL, "name": "b", "text": "why", "fix": "do"},
                ),
            }
        ],
    }


def test_mapped_offsets_leave_holes_out_and_refuse_compacted_topics() -> None:
    """Nothing is said where there is nothing to leave out."""
    told = judge.mapped(["logs", "orders"], ["logs"])

    assert [check.level for check in told] == [Level.FAIL, Level.OK]
    assert "logs: compacted" in told[0].text
    assert "orders: transactions" in told[1].text
    assert judge.mapped([], []) == []


def test_names_that_differ_in_a_dot_alone_collide() -> None:
    """With a topic that is there, and with each other; the advice is about the name, not about replicas."""
    found = judge.collisions({"a_b", "x.y", "x_y", "fine", "fine.too"}, {"a.b", "other", "fine"})
    assert found == {"a_b": "a.b", "x_y": "x.y"}
    (check,) = judge.colliding(found, WEST)
    assert (check.level, check.name) == (Level.FAIL, "create")
    assert "a_b (next to a.b), x_y (next to x.y)" in check.text
    assert "topics.rename" in check.fix
    assert judge.colliding({}, WEST) == []
    (told,) = judge.creations({"a_b": Refusal(17, "Topic 'a_b' collides with existing topics: a.b")}, 1, WEST)
    assert told.fix == "give it another name there (topics.rename), or exclude it"
