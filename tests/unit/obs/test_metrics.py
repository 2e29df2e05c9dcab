"""The text of a scrape, and the table it comes from."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from replicator.model.status.snapshots import DaemonStatus
from replicator.obs import loop_watch
from replicator.obs.metrics import PREFIX, Metric, render
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import DAEMON, NORTH

ROOT = Path(__file__).parents[3]


GROUPS = {flow: FakeDaemon().groups(flow)[0] for flow in ("east-to-west", "north-to-west")}


def scrape(status: DaemonStatus = DAEMON) -> dict[str, float]:
    """Return the samples of a scrape by name and labels, as they are written."""
    lines = render(status, GROUPS).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}


def test_the_snapshot_becomes_samples() -> None:
    """One of each kind, with its labels."""
    samples = scrape()
    flow = '{flow="east-to-west"}'

    assert samples[f"replicator_records_total{flow}"] == 1_204_519
    assert samples[f"replicator_rpo_seconds{flow}"] == 3.24
    assert samples[f"replicator_last_progress_timestamp_seconds{flow}"] == 1_790_000_000.5
    assert samples['replicator_appends_total{flow="east-to-west",outcome="duplicate"}'] == 2
    assert samples[f"replicator_filled_offsets_total{flow}"] == 77
    assert samples['replicator_flow_paused{flow="north-to-west"}'] == 1
    assert samples['replicator_mirror_state{flow="east-to-west",state="FAULTED",topic="audit-2026"}'] == 1
    assert samples['replicator_mirror_state{flow="east-to-west",state="ACTIVE",topic="audit-2026"}'] == 0
    faulted = [name for name in samples if name.startswith("replicator_partition_faulted")]
    assert len(faulted) == 1
    assert 'reason="overtaken_by_retention"' in faulted[0]
    assert samples['replicator_build_info{instance="west-1",version="0.1.0"}'] == 1
    assert samples["replicator_config_reload_success"] == 1


def test_unknown_has_no_sample() -> None:
    """A 0 would say that all is well."""
    names = scrape()

    assert not any(name.startswith("replicator_rpo_seconds") and "north" in name for name in names)
    assert 'replicator_lag_records{flow="east-to-west",partition="0",topic="orders.eu"}' in names
    assert 'replicator_lag_records{flow="east-to-west",partition="1",topic="orders.eu"}' not in names
    held_up = [name for name in names if name.startswith("replicator_open_transaction_seconds")]
    assert held_up == ['replicator_open_transaction_seconds{flow="east-to-west",partition="0",topic="orders.eu"}']


def test_verification_has_samples_where_it_runs_only() -> None:
    """A 0 would say that something was compared."""
    samples = {name: value for name, value in scrape().items() if "verif" in name}

    where = '{flow="east-to-west",partition="0",topic="audit-2026"}'
    assert samples == {
        f"replicator_verified_through_offset{where}": 480,
        f"replicator_verified_age_seconds{where}": 77.5,
        f"replicator_verify_differences_total{where}": 3,
    }


def test_groups_tell_their_age_and_what_would_be_read_again() -> None:
    """Where it is not known there is no sample; one that does not follow says why."""
    samples = {name: value for name, value in scrape().items() if "group" in name}

    assert samples == {
        'replicator_checkpoint_age_seconds{flow="east-to-west",group="billing"}': 6.5,
        'replicator_checkpoint_age_seconds{flow="east-to-west",group="shipping"}': 1.25,
        'replicator_group_reread_records{flow="east-to-west",group="shipping"}': 12,
        'replicator_group_held_back{flow="east-to-west",group="billing",reason="not_translated"}': 1,
    }


def test_flows_of_other_daemons_are_left_out() -> None:
    """Else a sum over daemons would count them twice."""
    assert not any("west-to-east" in name for name in scrape())


def test_a_bad_reload_shows() -> None:
    """The old file goes on running; the metric is how one notices."""
    assert scrape(replace(DAEMON, config_reload_ok=False))["replicator_config_reload_success"] == 0


def test_every_metric_of_the_table_is_well_formed_and_scraped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names follow the conventions: counters end in _total, and all of them parse."""
    monkeypatch.setattr(loop_watch, "lag_seconds", lambda: 0.25)
    monkeypatch.setattr(loop_watch, "task_count", lambda: 12)
    families = list(text_string_to_metric_families(render(DAEMON, GROUPS, {"role": 2}).decode()))
    parsed = {family.name for family in families if family.samples}

    for metric in Metric:
        spec = metric.value
        assert re.fullmatch(r"[a-z][a-z_]*", spec.name)
        assert spec.name.endswith("_total") == (spec.kind == "counter")
        assert (PREFIX + spec.name).removesuffix("_total") in parsed
        for family in families:
            if family.name == (PREFIX + spec.name).removesuffix("_total"):
                assert all(set(sample.labels) == set(spec.labels) for sample in family.samples)


def test_a_cluster_is_up_if_it_answers_any_flow() -> None:
    """And nothing is said of one that nobody knows of; partitions are counted by phase once the flow is up."""
    text = render(DAEMON, GROUPS).decode()
    assert [line for line in text.splitlines() if line.startswith("replicator_cluster_up{")] == [
        'replicator_cluster_up{cluster="east"} 1.0',
        'replicator_cluster_up{cluster="west"} 1.0',
    ]
    assert 'replicator_partitions{flow="east-to-west",phase="copying"} 1.0' in text
    assert 'replicator_partitions{flow="east-to-west",phase="waiting"} 1.0' in text
    assert 'replicator_partitions{flow="east-to-west",phase="stopped"} 0.0' in text
    assert 'replicator_partitions{flow="north-to-west"' not in text
    alone = replace(DAEMON, flows=(NORTH,))
    assert 'replicator_cluster_up{cluster="west"} 0.0' in render(alone, GROUPS).decode()


def test_the_documentation_is_up_to_date() -> None:
    """`scripts/gen_docs.py` was run after the last change of the table."""
    script = ROOT / "scripts/gen_docs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
