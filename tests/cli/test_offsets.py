"""Golden output of `offsets translate`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from ruamel.yaml import YAML

from replicator.model.operations.translation import OffsetQuestion
from tests.cli.conftest import Run
from tests.unit.rpc.fake_daemon import FakeDaemon

ONE = """\
TOPIC      PART  SOURCE  TARGET  STATE  BEHIND  DETAIL
orders.eu     1   1,200   1,203  exact       -  -
"""
GROUP_80 = """\
TOPIC       PART     SOURCE     TARGET  STATE               BEHIND
orders.eu      0  1,204,000  1,204,003  exact                    -
orders.eu      1        900          -  not_attached             -
audit-2026     0      1,000          -  not_yet_replicated     500
"""
GROUP_60 = """\
TOPIC       PART     SOURCE     TARGET  STATE
orders.eu      0  1,204,000  1,204,003  exact
orders.eu      1        900          -  not_attached
audit-2026     0      1,000          -  not_yet_replicated
"""
LEFT = """\
error: 2 of 3 offsets cannot be translated (yet)
why: orders.eu-1 not_attached: not compared yet
next: replicator mirror describe east-to-west orders.eu
"""
TRANSLATE = ("offsets", "translate", "east-to-west")
OF_ONE = ("--topic", "orders.eu", "--partition", "1", "--offset", "1200")


def test_one_offset(run: Run, daemon: FakeDaemon) -> None:
    """Exit 0: it is translated."""
    assert run(*TRANSLATE, *OF_ONE) == (0, ONE, "")
    assert daemon.questions == [("east-to-west", (OffsetQuestion("orders.eu", 1, 1200),), False)]


@pytest.mark.parametrize("moment", ["1790000000500", "2026-09-21T16:13:20.5+02:00", "2026-09-21T14:13:20.500Z"])
def test_a_moment_of_the_source(run: Run, daemon: FakeDaemon, moment: str) -> None:
    """As a number of milliseconds or as people write it; JSON repeats what was understood."""
    assert run(*TRANSLATE, "--topic", "orders.eu", "--partition", "0", "--time", moment).code == 0
    found = run(*TRANSLATE, "--topic", "orders.eu", "--time", moment, "-o", "json")
    assert json.loads(found.out)["time_ms"] == 1_790_000_000_500
    assert len(json.loads(found.out)["offsets"]) == 3
    assert [(each.partition, each.time_ms) for _, each in daemon.moments] == [
        (0, 1_790_000_000_500),
        (None, 1_790_000_000_500),
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--time", "1"), "give --topic"),
        (("--topic", "t", "--time", "1", "--offset", "1"), "give --topic"),
        (("--topic", "t", "--time", "1", "--reverse"), "omit --reverse"),
        (("--topic", "t", "--time", "2026-09-21T14:13:20"), "has no zone"),
        (("--topic", "t", "--time", "yesterday"), "ISO 8601 with a zone"),
    ],
)
def test_what_is_no_moment(run: Run, words: tuple[str, ...], why: str) -> None:
    """Exit 2, before any daemon is asked: no zone is guessed."""
    found = run(*TRANSLATE, *words)
    assert found.code == 2
    assert why in found.err


@pytest.mark.parametrize(("columns", "golden"), [(80, GROUP_80), (60, GROUP_60)])
@pytest.mark.usefixtures("daemon")
def test_a_group_in_a_narrow_terminal(run: Run, terminal: Callable[[int], None], columns: int, golden: str) -> None:
    """Offsets and states are never lost; exit 1, since some have no translation, and the first says why."""
    terminal(columns)

    assert run(*TRANSLATE, "--group", "billing") == (1, golden, LEFT)


def test_json_says_the_same_as_yaml(run: Run, daemon: FakeDaemon) -> None:
    """Integers for offsets, null for none."""
    found = run(*TRANSLATE, "--group", "billing", "-o", "json")
    document = json.loads(found.out)

    assert found.code == 1
    assert document["schema_version"] == 1
    assert (document["flow"], document["group"], document["reverse"]) == ("east-to-west", "billing", False)
    assert document["offsets"][2] == {
        "topic": "audit-2026",
        "target_topic": "east.audit-2026",
        "partition": 0,
        "source_offset": 1000,
        "target_offset": None,
        "state": "not_yet_replicated",
        "behind_records": 500,
        "detail": "500 records behind: copied up to 500; the partition is FAULTED (overtaken_by_retention)",
    }
    assert YAML(typ="safe").load(run(*TRANSLATE, "--group", "billing", "-o", "yaml").out) == document

    backwards = run(*TRANSLATE, *OF_ONE, "--reverse", "-o", "json")
    (row,) = json.loads(backwards.out)["offsets"]
    assert (backwards.code, row["source_offset"], row["target_offset"]) == (0, 1197, 1200)
    assert daemon.questions[-1][2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give --topic, --partition and --offset, or --group"),
        (("--topic", "orders.eu"), "give --topic, --partition and --offset, or --group"),
        (("--group", "billing", "--offset", "3"), "omit --topic, --partition and --offset"),
        ((*OF_ONE, "-o", "name"), "use -o table, wide, json or yaml"),
        (("--topic", "t", "--partition", "0", "--offset", "-1"), "--offset"),
        (("--topic", "t", "--partition", "0", "--offset", str(1 << 63)), "--offset"),
        (("--topic", "t", "--partition", str(1 << 31), "--offset", "1"), "--partition"),
    ],
)
@pytest.mark.usefixtures("daemon")
def test_what_cannot_be_meant_is_a_usage_error(run: Run, words: tuple[str, ...], said: str) -> None:
    """Exit 2, with what would be right."""
    result = run(*TRANSLATE, *words)

    assert result.code == 2
    assert said in result.err
