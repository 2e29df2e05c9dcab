"""Golden messages: every file in bad/ against the text beside it. UPDATE_GOLDEN=1 rewrites the texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from replicator.config.load import load
from replicator.errors import ConfigError

BAD = Path(__file__).parent / "bad"
ENVIRON = {"EAST_BOOTSTRAP": "east:9092", "TWO_LINES": "a\nb", "CANARY": "hunter2"}


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda path: path.stem)
def test_messages(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An operator reads these; a change of words must be seen in review."""
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o644)  # whatever the mode of the checkout
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(Path(path.name), ENVIRON)
    error = caught.value
    text = "\n".join([error.what, *error.problems, error.next_step, ""]).replace(f"{tmp_path}/", "/here/")
    golden = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert "hunter2" not in text
