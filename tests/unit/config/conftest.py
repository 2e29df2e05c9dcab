"""Files and variables that the samples ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SECRETS = ("daemon-key.pem", "east-password", "replicator-key.pem", "cloud-token", "cloud-password", "left-token")
CERTS = ("daemon.pem", "operators-ca.pem", "east-ca.pem", "replicator.pem", "dc-ca.pem")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return the environment in which every sample loads."""
    for name in SECRETS + CERTS:
        path = tmp_path / name
        path.write_text("x")
        path.chmod(0o600 if name in SECRETS else 0o644)
    return {
        "SECRETS": str(tmp_path),
        "CERTS": str(tmp_path),
        "EAST": "east-1:9092,east-2:9092",
        "WEST_PASSWORD": "canary-hunter2",
        "CLOUD": "cloud-1:9094",
        "CLOUD_ID": "abc",
    }
