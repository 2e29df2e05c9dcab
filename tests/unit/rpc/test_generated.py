"""Committed generated code is what the protos say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from replicator.state_pb import state_pb2

ROOT = Path(__file__).parents[3]


def test_generated_code_is_up_to_date() -> None:
    """`scripts/gen_protos.py` was run after the last change of a proto."""
    script = ROOT / "scripts/gen_protos.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_unknown_kinds_and_fields_survive_a_rewrite() -> None:
    """An older daemon that copies a record it does not understand changes nothing in it."""
    newer = bytes.fromhex("0863") + b"\x12\x03uid" + b"\xfa\x01\x01x"  # kind 99, flow_uid, field 31

    key = state_pb2.StateKey.FromString(newer)

    assert key.kind == 99
    assert key.SerializeToString(deterministic=True) == newer
