"""How a rule reads the file and notes what it finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from replicator.config.check import Checked
from replicator.config.yaml.mistakes import KeyPath, Mistakes
from replicator.config.yaml.positions import Node


@dataclass(frozen=True, slots=True)
class Rule:
    """The sound part of a file, and where mistakes go."""

    checked: Checked
    mistakes: Mistakes

    def note(self, path: KeyPath, text: str, *, about: Iterable[KeyPath] = ()) -> None:
        """Note a mistake at a path, unless that path or one of those in `about` was already found wrong.

        A path that is in no file (a missing key) is reported at the nearest mapping above it.
        """
        node = self.node(path)
        whole = node.path + path[len(node.path) :]  # indices as in the file
        if any(self.checked.judged(one) for one in (whole, *about)):
            return
        found = len(node.path) == len(path)
        self.mistakes.add(node.mark if found else node.key_mark, whole, text)

    def node(self, path: KeyPath) -> Node:
        """Return the node at a path, or the nearest one above it."""
        return self.checked.locate(path)
