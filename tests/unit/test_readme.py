"""The page about versions says what the runs between versions of Kafka have shown."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def gen_docs() -> ModuleType:
    """Return the script."""
    spec = importlib.util.spec_from_file_location("gen_docs", ROOT / "scripts/gen_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_versions_matches_the_results() -> None:
    """`scripts/gen_docs.py` was run after the last change of `docs/versions.json`."""
    text, results = (ROOT / "docs/VERSIONS.md").read_text(), json.loads((ROOT / "docs/versions.json").read_text())
    assert gen_docs().readme(text, results) == text


def test_what_was_not_run_is_said_as_that() -> None:
    """A direction without a result is no direction that works; what differs between the two is told of both."""
    made = gen_docs()
    page = f"a\n{made._BEGIN}old\n{made._END}b\n"
    told = {
        "copy": "yes",
        "switchover and back": "yes",
        "shapes": "7",
        "clocks": "yes",
        "users": "yes",
        "quotas": "yes",
    }
    table = made.readme(page, {"2.8.2 to 4.3.1": {**told, "clocks": "not offered"}, "4.3.1 to 4.3.1": told})
    row = " | ".join(f"{what} (as source)" for what in ("yes", "not offered", "yes", "yes"))
    assert f"| 2.8.2 | 7 shapes | not run | {row} |" in table
    assert "| 4.3.1 | 7 shapes | 7 shapes | yes | yes | yes | yes |" in table
    failed = made.readme(page, {"2.8.2 to 4.3.1": {**told, "copy": "no"}})
    assert "| 2.8.2 | no | not run |" in failed
    assert table.startswith("a\n")
    assert table.endswith("b\n")
