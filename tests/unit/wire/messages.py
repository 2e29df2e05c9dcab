"""Random messages of kio's types, and their bytes as a broker sends them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import types
import typing
from typing import Any

from hypothesis import strategies as st
from kio.schema.errors import ErrorCode
from kio.serial import entity_writer
from kio.static.primitive import i32Timedelta

AT_ONCE = i32Timedelta.parse(dt.timedelta(0))
_BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}
_SINGLE: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=5),
    "bytes": st.binary(max_size=5),
    "bool": st.booleans(),
    "uuid": st.one_of(st.none(), st.uuids(version=4)),
    "float64": st.floats(allow_nan=False),
    "error_code": st.sampled_from(list(ErrorCode)),
    "timedelta_i32": st.integers(0, 2**31 - 1).map(lambda number: dt.timedelta(milliseconds=number)),
    "timedelta_i64": st.integers(0, 2**40).map(lambda number: dt.timedelta(milliseconds=number)),
} | {name: st.integers(-(2**bits), 2**bits - 1) for name, bits in _BITS.items()}


_MADE: dict[type[Any], st.SearchStrategy[Any]] = {}


def encoded(message: Any) -> bytes:
    """Return an answer as it stands in a frame: correlation id 1, header, body."""
    body = io.BytesIO()
    entity_writer(type(message))(body, message)
    head = b"\x00\x00\x00\x01" + (b"\x00" if message.__header_schema__.__flexible__ else b"")
    return head + body.getvalue()


def messages(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Return messages of a type."""
    if kind not in _MADE:
        _MADE[kind] = st.builds(kind, **{field.name: _values(field) for field in dataclasses.fields(kind)})
    return _MADE[kind]


def _values(field: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    kind: Any = field.type
    optional = typing.get_origin(kind) is types.UnionType
    if optional:
        (kind,) = (one for one in typing.get_args(kind) if one is not types.NoneType)
    is_list = typing.get_origin(kind) is tuple
    if is_list:
        kind = typing.get_args(kind)[0]
    if dataclasses.is_dataclass(kind):
        single = messages(typing.cast("type[Any]", kind))
    else:
        single = _SINGLE[field.metadata["kafka_type"]]
    values = st.lists(single, max_size=3).map(tuple) if is_list else single
    return st.one_of(st.none(), values) if optional else values
