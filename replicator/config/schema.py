"""The flow file's JSON Schema, in draft 7, which editors' YAML language servers support."""

from __future__ import annotations

from typing import Any

from replicator.config.shape import FileShape

_FOREIGN = frozenset({"discriminator"})
"""Keywords that draft 7 does not know."""


def schema() -> dict[str, Any]:
    """Return the schema of a flow file; included files have its `clusters` and `flows`."""
    generated = FileShape.model_json_schema(by_alias=True)
    definitions = generated.pop("$defs")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_draft_7(generated),
        "title": "replicator flow file",
        "definitions": {name: _draft_7(definition) for name, definition in definitions.items()},
    }


def _draft_7(value: Any) -> Any:
    """Rewrite pydantic's 2020-12 output: `$defs`, and keywords beside `$ref` (which draft 7 ignores)."""
    if isinstance(value, list):
        return [_draft_7(one) for one in value]
    if not isinstance(value, dict):
        return value
    rewritten = {key: _draft_7(one) for key, one in value.items() if key not in _FOREIGN}
    if isinstance(title := rewritten.get("title"), str):
        rewritten["title"] = title.removesuffix("Shape")
    reference = rewritten.pop("$ref", None)
    if reference is None:
        return rewritten
    target = {"$ref": reference.replace("#/$defs/", "#/definitions/")}
    return {**rewritten, "allOf": [target]} if rewritten else target
