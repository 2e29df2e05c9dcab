"""The samples and the schema are what they say they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicator.config import load as loader
from replicator.config.load import effective, load
from replicator.config.schema import schema
from replicator.config.shape import FileShape, Shape

ROOT = Path(__file__).parents[3]
SAMPLES = sorted((ROOT / "configs").glob("*.yaml"))
TEMPLATE = ROOT / "replicator/config/template.yaml"


@pytest.mark.parametrize("path", [*SAMPLES, TEMPLATE], ids=lambda path: path.name)
def test_every_sample_loads_and_names_its_schema(path: Path, environ: dict[str, str]) -> None:
    """A sample that does not load is worse than none."""
    assert path.read_text().startswith("# yaml-language-server: $schema=./replicator.schema.json\n")
    assert load(path, environ).flows


def test_the_committed_schema_is_current() -> None:
    """`UPDATE_GOLDEN=1 pytest` (or `replicator config schema`) writes it."""
    path = ROOT / "configs/replicator.schema.json"
    text = json.dumps(schema(), indent=2) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


def used_keys(value: Any) -> Iterator[tuple[type[Shape], str]]:
    """Yield every key written in a file, with the kind of mapping it is in."""
    if isinstance(value, Shape):
        for name in value.model_fields_set:
            yield type(value), name
            yield from used_keys(getattr(value, name))
    elif isinstance(value, dict | tuple):
        for child in value.values() if isinstance(value, dict) else value:
            yield from used_keys(child)


def test_the_reference_holds_every_key(environ: dict[str, str]) -> None:
    """A key that the schema has and the reference lacks is undocumented."""
    checked, _ = loader._load(ROOT / "configs/reference.yaml", environ)
    used = set(used_keys(checked.shape))
    kinds: set[type[Shape]] = {FileShape, *(kind for kind, _ in used)}
    every = {(kind, name) for kind in kinds for name in kind.model_fields}
    assert every == used
    mappings = {name for name, kind in schema()["definitions"].items() if kind["type"] == "object"}
    assert {kind.__name__ for kind in kinds} == mappings | {"FileShape"}


def every_mapping(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in a schema."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from every_mapping(child)


def test_the_schema_stays_within_draft_7() -> None:
    """Editors ignore what stands beside a $ref, and do not know newer keywords."""
    whole = schema()
    for mapping in every_mapping(whole):
        assert "$ref" not in mapping or len(mapping) == 1
        assert not {"$defs", "prefixItems", "discriminator", "unevaluatedProperties"} & mapping.keys()
    for definition in [whole, *(kind for kind in whole["definitions"].values() if kind["type"] == "object")]:
        assert definition["additionalProperties"] is False
        for key in definition["properties"].values():
            reference = key.get("$ref", "").removeprefix("#/definitions/")
            assert (whole["definitions"][reference] if reference else key)["description"]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_effective_shows_no_secret_and_means_the_same(path: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """Every key of the schema is there, and loading the output changes nothing but secrets."""
    values = effective(path, environ)
    text = json.dumps(values)
    assert "canary-hunter2" not in text
    assert set(values) == set(schema()["properties"])
    again = tmp_path / "effective.yaml"
    again.write_text(text)
    again.chmod(0o600)
    assert effective(again, {}) == values
    assert load(again, {}).flows == load(path, environ).flows
    assert load(again, {}).daemon == load(path, environ).daemon
