"""What the conversions of clusters and flows share."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from replicator.config.mm2.layers import Layers
from replicator.config.mm2.report import Report


@dataclass(slots=True)
class ImportContext:
    """What all conversions share: the settings, the report, and the variables that the written file needs.

    `variables` maps each name to a description of its value; `stems` maps each alias to the prefix of its variables.
    """

    layers: Layers
    report: Report
    stems: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)

    def variable(self, alias: str, what: str, why: str, *, name: str | None = None) -> str:
        """Return a required variable as YAML, and note that it has to be set."""
        name = name or f"{self.stems[alias]}_{what}"
        self.variables[name] = why
        return json.dumps(f"${{{name}:?set {name}: {why}}}")


def stems(aliases: tuple[str, ...]) -> dict[str, str]:
    """Return the prefix of each alias's variables; no two aliases share one."""
    found: dict[str, str] = {}
    for alias in aliases:
        stem = re.sub(r"[^A-Z0-9]", "_", alias.upper())
        stem = f"CLUSTER_{stem}" if stem[0].isdigit() else stem
        while stem in found.values():
            stem += "_"
        found[alias] = stem
    return found
