"""Which line of the file decides an option: the flow's own, its cluster's, or one without a prefix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from replicator.config.mm2.properties import Entry, Properties
from replicator.config.yaml.mistakes import Mark, Mistakes

CLIENTS = ("consumer", "producer", "admin")
_PROVIDER = re.compile(r"\$\{([^}:]+):(?:([^}]*?):)?([^}:]*)\}")
_ENV_PROVIDER = "EnvVarConfigProvider"


@dataclass(frozen=True, slots=True)
class ScopedEntry:
    """An entry with its scope and option: for a flow (source and target), for a cluster (source alone), or for all."""

    entry: Entry
    name: str
    source: str = ""
    target: str = ""


@dataclass(slots=True)
class Layers:
    """The entries by scope, and for each overruled line the line that overrules it.

    `file` and `mistakes` are for invalid values.
    """

    file: str
    mistakes: Mistakes
    aliases: tuple[str, ...]
    scoped: dict[tuple[str, str, str], ScopedEntry] = field(default_factory=dict)
    overruled: dict[int, int] = field(default_factory=dict)

    def of_all(self, name: str) -> Entry | None:
        """Return the entry without a prefix."""
        return self._first([("", "", name)])

    def of_flow(self, source: str, target: str, *names: str) -> Entry | None:
        """Return the deciding entry of a flow option: the flow's own, else the one for all; the first name wins."""
        own = [(source, target, name) for name in names]
        return self._first([*own, *(("", "", name) for name in names)])

    def of_cluster(self, alias: str, name: str) -> Entry | None:
        """Return the deciding entry of a client option: the cluster's, one of its clients', the one for all."""
        clients = [(alias, "", f"{client}.{name}") for client in CLIENTS]
        return self._first([(alias, "", name), *clients, ("", "", name)])

    def of_reader(self, source: str, target: str, name: str) -> Entry | None:
        """Return the deciding entry of an option of the consumer that reads a flow's source."""
        flow = [(source, target, f"{prefix}.{name}") for prefix in ("source.consumer", "consumer")]
        return self._first([*flow, (source, "", f"consumer.{name}")])

    def truth(self, entry: Entry | None, *, default: bool) -> bool:
        """Return a flag; anything but true and false is noted as a mistake."""
        if entry is None:
            return default
        if entry.value.lower() not in {"true", "false"}:
            self.wrong(entry, "must be true or false")
        return entry.value.lower() == "true"

    def whole(self, entry: Entry) -> int:
        """Return a whole number; anything else is noted as a mistake."""
        if not re.fullmatch(r"-?[0-9]{1,15}", entry.value, re.ASCII):
            self.wrong(entry, "must be a whole number")
            return 1
        return int(entry.value)

    def wrong(self, entry: Entry, text: str) -> None:
        """Note a mistake at an entry."""
        self.mistakes.add(Mark(self.file, entry.line, 1), (entry.key,), text)

    def variable(self, value: str) -> str | None:
        """Return the environment variable behind `${env:NAME}`, if the provider of that name reads the environment."""
        match = _PROVIDER.fullmatch(value)
        if match is None or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", match[3], re.ASCII):
            return None
        kind = self.of_all(f"config.providers.{match[1]}.class")
        return match[3] if kind is not None and kind.value.endswith(_ENV_PROVIDER) else None

    def _first(self, keys: Sequence[tuple[str, str, str]]) -> Entry | None:
        """Return the first entry that exists; note that it overrules the later ones."""
        found = [self.scoped[key].entry for key in keys if key in self.scoped]
        if not found:
            return None
        for other in found[1:]:
            self.overruled[other.line] = found[0].line
        return found[0]


def provided(value: str) -> bool:
    """Return whether a value comes from a config provider, as `${file:/path:key}` does."""
    return _PROVIDER.search(value) is not None


def layers(properties: Properties, aliases: tuple[str, ...], file: str, mistakes: Mistakes) -> Layers:
    """Sort the entries into their scopes; the longest alias wins, since aliases may contain dots."""
    result = Layers(file, mistakes, aliases)
    pairs = [(f"{a}->{b}.", a, b) for a in aliases for b in aliases if a != b]
    prefixes = [*pairs, *((f"{alias}.", alias, "") for alias in aliases)]
    prefixes.sort(key=lambda prefix: -len(prefix[0]))
    for entry in properties.entries:
        scope = next((one for one in prefixes if entry.key.startswith(one[0])), ("", "", ""))
        name = entry.key.removeprefix(scope[0])
        result.scoped[(scope[1], scope[2], name)] = ScopedEntry(entry, name, scope[1], scope[2])
    return result
