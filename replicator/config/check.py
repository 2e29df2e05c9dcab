"""Checks the tree against the shape: notes every mistake at once, and leaves a sound rest that further rules can judge.

pydantic stops at the first rule that needs a sound value. So whatever it refuses is noted and cut out of the tree, and
the rest is validated again: then the rules of `lint` still see everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from replicator.config.shape import FileShape, PrefixShape, RegexShape, Shape
from replicator.config.shape_types import UNION_TAGS
from replicator.config.yaml.mistakes import Key, KeyPath, Mistakes, did_you_mean
from replicator.config.yaml.positions import Node
from replicator.model.units import shown

PASSES_MAX = 12
"""Cutting goes at most from the deepest key up to a whole flow; each pass goes up one level."""
_STAND_INS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    ((), {"version": 1, "clusters": {}, "flows": {}}),
    (("clusters", "*"), {"bootstrap": "unknown:1"}),
    (("flows", "*"), {"from": "unknown", "to": "unknown", "topics": {}}),
    (("flows", "*", "topics"), {"include": [{"prefix": "unknown"}]}),
)
"""Values for required keys that are missing or cut, so that the rest around them can still be judged.
Rules do not judge them: their paths are in `Checked.cut`."""
_BY_TAG: dict[Key, type[Shape]] = {UNION_TAGS[1]: PrefixShape, UNION_TAGS[2]: RegexShape}
_KEY_STEP = "[key]"
_FROM_VARIABLE = "the variable's value"


@dataclass(frozen=True, slots=True)
class Checked:
    """The sound part of a file.

    Attributes:
        shape: The sound part.
        tree: The same with lines and columns.
        cut: Paths whose value (or absence) was already found wrong.
    """

    shape: FileShape
    tree: Node
    cut: frozenset[KeyPath]

    def judged(self, path: KeyPath) -> bool:
        """Return whether this path, or something above it, was already found wrong."""
        return any(path[: len(cut)] == cut for cut in self.cut)

    def locate(self, path: KeyPath) -> Node:
        """Return the node at a path, or the nearest one above it."""
        return _locate(self.tree, path)[0]


def check(tree: Node, mistakes: Mistakes) -> Checked:
    """Return the sound part of the tree; everything else is noted."""
    cut: set[KeyPath] = set()
    for number in range(PASSES_MAX):
        try:
            return Checked(FileShape.model_validate(tree.plain()), tree, frozenset(cut))
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
            if number == 0:
                cut |= _note(tree, errors, mistakes)
            paths = {_to_cut(tree, one) for one in errors}
            cut |= paths - {()}
            tree = _stand_in(_without(tree, paths))
    empty = _stand_in(replace(tree, value={}))
    return Checked(FileShape.model_validate(empty.plain()), empty, frozenset({()}))


def _steps(error: Any) -> KeyPath:
    return tuple(step for step in error["loc"] if step not in UNION_TAGS and step != _KEY_STEP)


def _locate(tree: Node, path: Iterable[Key]) -> tuple[Node, int]:
    """Return the deepest node on the path, and how many steps lead to it."""
    node, depth = tree, 0
    for step in path:
        child = node.child(step)
        if child is None:
            break
        node, depth = child, depth + 1
    return node, depth


def _to_cut(tree: Node, error: Any) -> KeyPath:
    """Return the path to cut: the wrong value, or the mapping that cannot do without the missing one."""
    node = _locate(tree, _steps(error))[0]
    key = error["loc"][-1]
    if error["type"] == "missing" and any(_fits(place, node.path) and key in keys for place, keys in _STAND_INS):
        return (*node.path, key)
    return node.path


def _fits(place: tuple[str, ...], path: KeyPath) -> bool:
    return len(place) == len(path) and all(one in {"*", step} for one, step in zip(place, path, strict=True))


def _without(node: Node, paths: set[KeyPath]) -> Node:
    if isinstance(node.value, dict):
        kept = {k: _without(child, paths) for k, child in node.value.items() if child.path not in paths}
        return replace(node, value=kept)
    if isinstance(node.value, list):
        return replace(node, value=[_without(c, paths) for c in node.value if c.path not in paths])
    return node


def _stand_in(node: Node) -> Node:
    """Return the tree with every required key present."""
    if not isinstance(node.value, dict):
        return node
    value = dict(node.value)
    for place, keys in _STAND_INS:
        if _fits(place, node.path):
            for key, plain in keys.items():
                if key not in value or value[key].value is None:
                    value[key] = _grow(plain, (*node.path, key), node)
    return replace(node, value={key: _stand_in(child) for key, child in value.items()})


def _grow(plain: Any, path: KeyPath, beside: Node) -> Node:
    """Return nodes for a plain value, at the line and column of the mapping that it belongs to."""
    value = plain
    if isinstance(plain, dict):
        value = {key: _grow(one, (*path, key), beside) for key, one in plain.items()}
    elif isinstance(plain, list):
        value = [_grow(one, (*path, index), beside) for index, one in enumerate(plain)]
    return Node(beside.mark, beside.key_mark, path, value)


def _note(tree: Node, errors: list[Any], mistakes: Mistakes) -> set[KeyPath]:
    """Note every error; return the paths of keys that misspelt keys were meant to be."""
    meant: set[KeyPath] = set()
    for error in errors:
        if error["type"] == "extra_forbidden":
            meant |= _note_unknown(tree, error, mistakes)
    for error in errors:
        path = _steps(error)
        node, depth = _locate(tree, path)
        if error["type"] == "extra_forbidden" or node.failed or path in meant:
            continue
        if error["type"] == "too_short" and node.value:
            continue  # it is short only because its entries are wrong, and those are noted
        shown = node.path + path[depth:]  # indices as in the file
        at_key = error["type"] == "missing" or error["loc"][-1] == _KEY_STEP or node.value is None
        mistakes.add(node.key_mark if at_key else node.mark, shown, _describe(error, node))
    return meant


def _note_unknown(tree: Node, error: Any, mistakes: Mistakes) -> set[KeyPath]:
    path = _steps(error)
    node = _locate(tree, path)[0]
    allowed = shape_at(error["loc"][:-1]).keys()
    hint = did_you_mean(str(path[-1]), allowed)
    mistakes.add(node.key_mark, node.path, f"unknown key; allowed: {', '.join(allowed)}{hint}")
    found = re.search(r"did you mean '(.*)'", hint)
    return {(*node.path[:-1], found[1])} if found else set()


def shape_at(loc: Iterable[Key]) -> type[Shape]:
    """Return the class of the mapping at a pydantic location."""
    shape: type[Shape] = FileShape
    skip = False
    for step in loc:
        if skip:  # an alias or the name of a flow, which may be any word
            skip = False
            continue
        if step in _BY_TAG:
            shape = _BY_TAG[step]
            continue
        for name, info in shape.model_fields.items():
            if (info.alias or name) == step:
                skip = get_origin(info.annotation) is dict
                shape = _inner_shape(info.annotation) or shape
                break
    return shape


def _inner_shape(annotation: Any) -> type[Shape] | None:
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _inner_shape(arg))), None)


def _describe(error: Any, node: Node) -> str:
    kind = error["type"]
    if kind == "value_error":
        text = str(error["ctx"]["error"])
        if node.substituted and isinstance(node.value, str):
            text = text.replace(shown(node.value), _FROM_VARIABLE)
        return text
    if kind == "missing":
        return _missing(error)
    if kind in {"enum", "literal_error"}:
        return _not_one_of(error, node)
    wanted = {"model_type": "a mapping (key: value)", "dict_type": "a mapping (key: value)", "tuple_type": "a list"}
    if kind in wanted:
        return f"must be {wanted[kind]}, not {_kind(node)}"
    if kind == "too_short":
        return "must not be empty; at least one entry"
    return str(error["msg"])


def _not_one_of(error: Any, node: Node) -> str:
    allowed = re.findall(r"'([^']*)'|([0-9]+)", error["ctx"]["expected"])
    words = [text or number for text, number in allowed]
    hint = did_you_mean(node.value, words) if isinstance(node.value, str) else ""
    return f"{_what(node)} is not allowed; allowed: {', '.join(words)}{hint}"


def _missing(error: Any) -> str:
    *parent, key = error["loc"]
    fields = shape_at(parent).model_fields.items()
    text = next((info.description for name, info in fields if (info.alias or name) == key), None) or ""
    return f"is missing; needed: {text[:1].lower()}{text[1:].rstrip('.')}"


def _what(node: Node) -> str:
    """Name a wrong value of a key that holds one word; a value from the environment may be a misplaced secret."""
    if isinstance(node.value, list | dict) or node.value is None:
        return _kind(node)
    return _FROM_VARIABLE if node.substituted else repr(node.value)


def _kind(node: Node) -> str:
    """Name the kind of a value, without showing it."""
    kinds = {list: "a list", dict: "a mapping", str: "text", bool: "true or false", type(None): "empty"}
    return kinds.get(type(node.value), "a number")
