"""Parses YAML 1.2 into a tree that keeps the line and column of every key and value.

The tree is built from ruamel's events rather than from its documents: events show explicit tags, repeated keys and
aliases. Scalars are resolved by YAML 1.2's core schema alone (``no`` and ``1:30`` stay text, whatever a ``%YAML``
directive says), and a hostile file is refused before it is expanded.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from replicator.config.yaml.mistakes import Key, KeyPath, Mark, Mistakes

NODES_MAX = 50_000
DEPTH_MAX = 32

Scalar = str | int | float | bool | None
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_BASED = re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,16}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,18}|[0-9]{1,18}(\.[0-9]{0,18})?)([eE][-+]?[0-9]{1,3})?")
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Node:
    """One value with its position.

    Attributes:
        mark: Where the value is.
        key_mark: Where its key is; for a list entry and the root, the same as `mark`.
        path: Keys and indices from the root.
        value: A scalar, a list of nodes or a mapping of nodes.
        substituted: Whether the text came (in part) from the environment.
        failed: Whether a substitution failed; that is already noted, so the value is not judged again.
        weight: How many nodes this one holds, itself included.
    """

    mark: Mark
    key_mark: Mark
    path: KeyPath
    value: Scalar | list[Node] | dict[str, Node]
    substituted: bool = False
    failed: bool = False
    weight: int = 1

    def child(self, key: Key) -> Node | None:
        """Return the node under a key or index, or None."""
        if isinstance(self.value, dict) and isinstance(key, str):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]
        return None

    def plain(self) -> Any:
        """Return the value without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def map_nodes(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return the tree with every node replaced by ``change(node)``, parents before children."""
    node = change(node)
    if isinstance(node.value, dict):
        return replace(node, value={key: map_nodes(child, change) for key, child in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[map_nodes(child, change) for child in node.value])
    return node


def rebase(node: Node, path: KeyPath, key_mark: Mark) -> Node:
    """Return a copy of the tree under another path: an alias, or an included file's entry."""
    cut = len(node.path)
    copy = map_nodes(node, lambda child: replace(child, path=path + child.path[cut:]))
    return replace(copy, key_mark=key_mark)


class _Refused(Exception):
    """The rest of the document cannot be read."""

    def __init__(self, mark: Mark, path: KeyPath, text: str) -> None:
        super().__init__(text)
        self.mark, self.path, self.text = mark, path, text


class _Builder:
    """Turns the events of one document into nodes."""

    def __init__(self, events: Iterator[Any], file: str, mistakes: Mistakes) -> None:
        self._events = events
        self._file = file
        self._mistakes = mistakes
        self._anchors: dict[str, Node] = {}
        self._nodes = 0

    def document(self) -> Node | None:
        """Return the root, or None for a file without any value."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise _Refused(self._mark(event), (), "a second document (---); allowed: one document")
                root = self._node(next(self._events), ())
        return root

    def _mark(self, event: Any) -> Mark:
        return Mark(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _node(self, event: Any, path: KeyPath, key_mark: Mark | None = None) -> Node:
        mark = self._mark(event)
        key_mark = key_mark or mark
        if isinstance(event, AliasEvent):
            return self._alias(event, path, key_mark)
        self._count(1, mark, path)
        if getattr(event, "tag", None) is not None:
            self._mistakes.add(mark, path, "YAML tags (!...) are not allowed; write the plain value")
        value: Scalar | list[Node] | dict[str, Node]
        if isinstance(event, ScalarEvent):
            value = _resolve(event.value) if event.implicit[0] else event.value
        elif len(path) >= DEPTH_MAX:
            raise _Refused(mark, (), f"nested too deeply; allowed: {DEPTH_MAX} levels")
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(path)
        else:
            value = self._sequence(path)
        weight = 1 + sum(child.weight for child in _children(value))
        node = Node(mark, key_mark, path, value, weight=weight)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _count(self, more: int, mark: Mark, path: KeyPath) -> None:
        self._nodes += more
        if self._nodes > NODES_MAX:
            raise _Refused(mark, path, f"too large; allowed: {NODES_MAX} values, aliases expanded")

    def _alias(self, event: Any, path: KeyPath, key_mark: Mark) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise _Refused(self._mark(event), path, f"alias *{event.anchor} has no anchor before it")
        self._count(node.weight, self._mark(event), path)
        return rebase(node, path, key_mark)

    def _sequence(self, path: KeyPath) -> list[Node]:
        children: list[Node] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            children.append(self._node(event, (*path, len(children))))
        return children

    def _mapping(self, path: KeyPath) -> dict[str, Node]:
        children: dict[str, Node] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            mark = self._mark(event)
            if not isinstance(event, ScalarEvent):
                raise _Refused(mark, path, "a key must be plain text, not a list, mapping or alias")
            key: str = event.value
            child = self._node(next(self._events), (*path, key), mark)
            if key == "<<" and event.implicit[0]:
                self._mistakes.add(mark, (*path, key), "merge keys are not YAML 1.2; repeat the keys")
            elif key in children:
                first = children[key].key_mark.line
                self._mistakes.add(mark, (*path, key), f"the key appears twice; first on line {first}")
            else:
                children[key] = child
        return children


def _children(value: Scalar | list[Node] | dict[str, Node]) -> list[Node]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _resolve(text: str) -> Scalar:
    """Return what a plain scalar means in YAML 1.2's core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def parse(text: str, file: str, mistakes: Mistakes) -> Node | None:
    """Return the tree of one YAML document, or None if it cannot be read; mistakes are noted."""
    start = Mark(file, 1, 1)
    try:
        events = YAML(typ="rt", pure=True).parse(io.StringIO(text))
        root = _Builder(iter(events), file, mistakes).document()
    except _Refused as refused:
        mistakes.add(refused.mark, refused.path, refused.text)
        return None
    except MarkedYAMLError as error:
        # Only the problem's own words: ruamel's full text quotes the file, which may hold a password.
        at = error.problem_mark or error.context_mark
        mark = Mark(file, at.line + 1, at.column + 1) if at else start
        context = f" {error.context}" if error.context else ""
        if context and error.context_mark:
            context += f" that begins on line {error.context_mark.line + 1}"
        mistakes.add(mark, (), f"not YAML: {error.problem}{context}")
        return None
    except (YAMLError, ValueError) as error:
        mistakes.add(start, (), f"not YAML: {type(error).__name__}")
        return None
    if root is None or root.value is None:
        mistakes.add(start, (), "the file is empty; see: replicator config template")
        return None
    return root
