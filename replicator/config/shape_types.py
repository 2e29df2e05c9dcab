"""The kinds of values in a flow file, as pydantic types with their JSON Schema and their conversion back to text."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    PlainSerializer,
    PlainValidator,
    Tag,
    WithJsonSchema,
)

from replicator.core.topics.regex import BadRegex, compiled
from replicator.core.topics.selection import legal_topic_name
from replicator.model import units
from replicator.model.security import Secret

SCHEMA_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
"""Aliases and flow names end up in metric labels, file names and topic names."""
_VARIABLE = r"\$\{"
_NAME = re.compile(SCHEMA_NAME, re.ASCII)
_GLOB = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,249}", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,248}", re.ASCII)
_TOPIC_SIGNS = "allowed in topic names: letters, digits, '.', '_' and '-'"
NUMBER_MAX = 2**63 - 1


def _text(value: object) -> str:
    """Return text that is not empty; any other type is the author's mistake, not ours to convert."""
    if not isinstance(value, str):
        kind = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
        raise ValueError(f"must be text, not {kind.get(type(value), 'empty')}; write it in quotes")  # noqa: TRY004  # one error type for pydantic
    if not value:
        raise ValueError("must not be empty")
    return value


def _name(value: object) -> str:
    text = _text(value)
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{units.shown(text)} is not a name; allowed: letters, digits, '.', '_', '-', at most 63,"
            " starting with a letter or digit"
        )
    return text


def _secret(value: object) -> Secret:
    return Secret(_text(value))


def _flag(value: object) -> bool:
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"  # from an environment variable
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004  # as above
    return value


def _number(value: object, lowest: int) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
        value = int(value)  # from an environment variable
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= NUMBER_MAX:
        raise ValueError(f"must be a whole number; allowed: {lowest} or more")
    return value


def _count(value: object) -> int:
    return _number(value, 1)


def _replication_factor(value: object) -> int | None:
    if value is None or value == "source":
        return None
    try:
        number = _number(value, 1)
    except ValueError:
        number = 0
    if not 1 <= number <= 2**15 - 1:
        raise ValueError("must be 'source' or a number of replicas (1 or more)")
    return number


def _rate(value: object) -> int | None:
    return None if value is None or value == "unlimited" else units.parse_size(value)


def _command(value: object) -> tuple[str, ...]:
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error}") from None
    if not isinstance(words, list | tuple) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError('must be a command: a list of words (["get-token", "--short"]) or one line')
    return tuple(words)


def _config_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise ValueError("must be text, a number, true or false")  # noqa: TRY004  # as above
    return str(value)


def _glob(value: str) -> str:
    if not _GLOB.fullmatch(value):
        raise ValueError(f"{units.shown(value)} can match no topic; {_TOPIC_SIGNS}, and * ? [] as wildcards")
    return value


def _prefix(value: str) -> str:
    if not _PREFIX.fullmatch(value):
        raise ValueError(f"{units.shown(value)} cannot begin a topic name; {_TOPIC_SIGNS}")
    return value


def _regex(value: str) -> str:
    try:
        compiled(value)
    except BadRegex as error:
        raise ValueError(f"{units.shown(value)} is not a regular expression: {error}") from None
    return value


def _replacement(value: str) -> str:
    plain = re.sub(r"\\(\d+|g<\w+>)", "", value)
    hint = "; write \\1 for a group, not $1" if "$" in plain else ""
    if plain and not legal_topic_name(plain.strip(".") or "x"):
        raise ValueError(f"{units.shown(value)} cannot be a topic name; {_TOPIC_SIGNS}{hint}")
    return value


def _hidden_arguments(command: tuple[str, ...]) -> list[str]:
    return [command[0], *(["***"] if command[1:] else [])]


def _or_variable(schema: dict[str, Any], pattern: str) -> WithJsonSchema:
    """Return a schema that lets an editor accept ``${VAR}`` wherever the loader does."""
    return WithJsonSchema({**schema, "pattern": f"{pattern}|{_VARIABLE}"})


_NUMBER_SCHEMA: dict[str, Any] = {"type": ["integer", "string"], "minimum": 1}
_SIZE = r"^[0-9]+ ?(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$"
_ADDRESS = r"^(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+):[0-9]{1,5}$"

Text = Annotated[str, PlainValidator(_text), WithJsonSchema({"type": "string", "minLength": 1})]
Name = Annotated[str, PlainValidator(_name), _or_variable({"type": "string"}, SCHEMA_NAME)]
Password = Annotated[
    Secret,
    PlainValidator(_secret),
    PlainSerializer(lambda _: "***", return_type=str),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
File = Annotated[Path, BeforeValidator(_text), WithJsonSchema({"type": "string", "minLength": 1})]
Flag = Annotated[bool, PlainValidator(_flag), WithJsonSchema({"type": ["boolean", "string"], "pattern": _VARIABLE})]
Count = Annotated[int, PlainValidator(_count), _or_variable(_NUMBER_SCHEMA, r"^[0-9]+$")]
ReplicationFactor = Annotated[
    int | None,
    PlainValidator(_replication_factor),
    PlainSerializer(lambda number: "source" if number is None else number),
    _or_variable(_NUMBER_SCHEMA, r"^(source|[0-9]+)$"),
]
Size = Annotated[
    int,
    PlainValidator(units.parse_size),
    PlainSerializer(units.format_size),
    _or_variable(_NUMBER_SCHEMA, _SIZE),
]
Rate = Annotated[
    int | None,
    PlainValidator(_rate),
    PlainSerializer(lambda rate: "unlimited" if rate is None else units.format_size(rate)),
    _or_variable(_NUMBER_SCHEMA, f"^unlimited$|{_SIZE}"),
]
Duration = Annotated[
    float,
    PlainValidator(units.parse_duration),
    PlainSerializer(units.format_duration),
    _or_variable({"type": "string"}, r"^[0-9]+ ?(ms|s|m|h)$"),
]
Address = Annotated[
    tuple[str, int],
    PlainValidator(units.parse_address),
    PlainSerializer(units.format_address),
    _or_variable({"type": "string"}, _ADDRESS),
]
Bootstrap = Annotated[
    tuple[tuple[str, int], ...],
    PlainValidator(units.parse_bootstrap),
    PlainSerializer(units.format_bootstrap),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
Command = Annotated[
    tuple[str, ...],
    PlainValidator(_command),
    PlainSerializer(_hidden_arguments),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
ConfigValue = Annotated[str, PlainValidator(_config_value), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Glob = Annotated[Text, AfterValidator(_glob)]
Prefix = Annotated[Text, AfterValidator(_prefix)]
Regex = Annotated[Text, AfterValidator(_regex)]
Replacement = Annotated[Text, AfterValidator(_replacement)]

UNION_TAGS = ("<text>", "<prefix>", "<regex>")
"""Steps that pydantic adds to the path of a pattern; no file contains them."""
PATTERN_ALLOWED = "allowed: plain text (a glob), {prefix: ...} or {regex: ...}"


def _pattern_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "<text>"
    if isinstance(value, dict):
        return "<prefix>" if "prefix" in value or "regex" not in value else "<regex>"
    return {"PrefixShape": "<prefix>", "RegexShape": "<regex>"}.get(type(value).__name__)


BY_PATTERN_KIND = Discriminator(
    _pattern_kind,
    custom_error_type="value_error_pattern",
    custom_error_message=f"is not a pattern; {PATTERN_ALLOWED}",
)
TextTag, PrefixTag, RegexTag = (Tag(tag) for tag in UNION_TAGS)
Version = Literal[1]
