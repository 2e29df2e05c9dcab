"""Typed responses from untrusted bytes: kio's message types, read by a bounded reader of our own.

kio's own reader allocates as many elements as a response claims, in native code: a count of 2^32 aborts the process.
Here each count and length is checked against the bytes that are there, and the memory that a response may take is
bounded. The shape of a message comes from kio's dataclasses (KIP-482 for tagged fields).

Reading is a generator that pauses every few kilobytes, so that a large response does not hold up the event loop.
"""

from __future__ import annotations

import dataclasses
import struct
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from replicator.errors import BugError, CorruptRecords
from replicator.wire.protocol.cursor import read_uvarint, skip_tags
from replicator.wire.protocol.decode_values import FIXED, I32, NULL, Data, Plain, check_length, compact, legacy, varying

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from kio.static.protocol import Entity

MEMORY_BYTES_MAX: Final = 512 << 20
"""The memory that one response may take, roughly; one element of two bytes may become an object of 200."""
PIECE_BYTES: Final = 16 << 10
"""Reading pauses after this much of a response: less than 10 ms of work."""
SCALARS_MAX: Final = 100_000
"""Elements in one list of numbers or strings, which is read in one go: replicas of a partition, mechanisms."""
_OBJECT_BYTES = 256
_SCALAR_BYTES = 64
_CORRELATION_BYTES = 4
_MORE = 0x80

Keep = Mapping[type, Callable[[Any], bool]]
"""By message type of list elements: whether an element is wanted."""
KEEP_ALL: Final[Keep] = {}
R = TypeVar("R", bound="Entity")


class _Budget:
    """The rest of the memory for one response, where reading last paused, and which elements are kept."""

    __slots__ = ("keep", "left_bytes", "paused_at")

    def __init__(self, keep: Keep) -> None:
        self.left_bytes = MEMORY_BYTES_MAX
        self.paused_at = 0
        self.keep = keep

    def spend(self, count: int, each_bytes: int) -> None:
        """Take room for `count` elements.

        Raises:
            CorruptRecords: There is not that much.
        """
        self.left_bytes -= count * each_bytes
        if self.left_bytes < 0:
            raise CorruptRecords(f"it would take more than {MEMORY_BYTES_MAX >> 20} MiB of memory")


def pieces(data: Data, answer: type[R], keep: Keep = KEEP_ALL) -> Generator[None, None, R]:
    """Read a response, header included; pause every `PIECE_BYTES`, and return it at the end.

    Args:
        data: The response from its correlation id on, and nothing after it.
        answer: Its type in kio.
        keep: Which elements of its lists are kept; the others are read and checked, and dropped at once.

    Raises:
        CorruptRecords: These bytes are not such a response.
    """
    shape = _shape_of(answer)
    try:
        at = _CORRELATION_BYTES
        if answer.__header_schema__.__flexible__:  # type: ignore[attr-defined] # requests and answers have one
            at = skip_tags(data, at)
        entity, _ = yield from shape.read(data, at, _Budget(keep))
    except (IndexError, struct.error) as error:
        raise CorruptRecords("it ends too early", why=str(error)) from error
    except (UnicodeDecodeError, OverflowError) as error:
        raise CorruptRecords("a value in it cannot be read", why=type(error).__name__) from error
    return typing.cast("R", entity)


def read_whole(data: Data, answer: type[R]) -> R:
    """Read a response in one go, as `pieces` does.

    Raises:
        CorruptRecords: These bytes are not such a response.
    """
    return typing.cast("R", _finished(pieces(data, answer)))


# -- messages ---------------------------------------------------------------------------------------------------------


class _Run:
    """Fields of a fixed size that follow each other."""

    def __init__(self, fields: Sequence[dataclasses.Field[Any]]) -> None:
        kinds = [FIXED[field.metadata["kafka_type"]] for field in fields]
        self._layout = struct.Struct(">" + "".join(code for code, _ in kinds))
        self._names = tuple(field.name for field in fields)
        self._made = [(field.name, make) for field, (_, make) in zip(fields, kinds, strict=True) if make is not None]
        self.bytes_min = self._layout.size

    def read(self, values: dict[str, Any], data: Data, at: int, _: _Budget) -> int:
        """Read them into `values`; return the position after them."""
        values.update(zip(self._names, self._layout.unpack_from(data, at), strict=True))
        for name, make in self._made:
            values[name] = make(values[name])
        return at + self._layout.size


class _Varying:
    """A string, or bytes."""

    def __init__(self, field: dataclasses.Field[Any], *, flexible: bool, optional: bool) -> None:
        self._name = field.name
        self._read, self.bytes_min = varying(field.metadata["kafka_type"], flexible=flexible, optional=optional)

    def read(self, values: dict[str, Any], data: Data, at: int, _: _Budget) -> int:
        """Read it into `values`; return the position after it."""
        values[self._name], at = self._read(data, at)
        return at


class _List:
    """What all lists share: how many elements they claim."""

    def __init__(self, name: str, item_bytes_min: int, *, flexible: bool, optional: bool) -> None:
        self.name = name
        self.bytes_min = 1 if flexible else I32.size
        self._item_bytes_min = item_bytes_min
        self._length_of = compact if flexible else legacy(I32)
        self._flexible = flexible
        self._optional = optional

    def count(self, data: Data, at: int) -> tuple[int | None, int]:
        """Read how many elements there are, None for a null list; make sure that there are bytes for that many."""
        if self._flexible and data[at] < _MORE:  # nearly always
            count, at = data[at] - 1, at + 1
        else:
            count, at = self._length_of(data, at)
        if count == NULL and self._optional:
            return None, at
        left = len(data) - at
        if not 0 <= count <= left // self._item_bytes_min:
            raise CorruptRecords(f"it claims {count} elements ({self.name}) where {left} bytes are left")
        return count, at


class _Scalars(_List):
    """A list of numbers or strings."""

    def __init__(self, field: dataclasses.Field[Any], *, flexible: bool, optional: bool) -> None:
        kind = field.metadata["kafka_type"]
        self._code, make = FIXED.get(kind, ("", None))
        if make is not None:
            raise BugError(f"no reader for a list of {kind!r}")
        self._single: Callable[[Data, int], Plain] | None = None
        if self._code:
            item_bytes_min = struct.calcsize(">" + self._code)
        else:
            self._single, item_bytes_min = varying(kind, flexible=flexible, optional=False)
        super().__init__(field.name, item_bytes_min, flexible=flexible, optional=optional)

    def read(self, values: dict[str, Any], data: Data, at: int, budget: _Budget) -> int:
        """Read it into `values`; return the position after it."""
        count, at = self.count(data, at)
        if count is None:
            values[self.name] = None
            return at
        if count > SCALARS_MAX:
            raise CorruptRecords(f"it claims {count} elements ({self.name}) where at most {SCALARS_MAX} are read")
        budget.spend(count, _SCALAR_BYTES)
        if self._single is None:
            values[self.name] = struct.unpack_from(f">{count}{self._code}", data, at)
            return at + count * self._item_bytes_min
        items = []
        for _ in range(count):
            item, at = self._single(data, at)
            items.append(item)
        values[self.name] = tuple(items)
        return at


class _Messages(_List):
    """A list of messages, read with pauses in between."""

    def __init__(self, field: dataclasses.Field[Any], kind: type[Entity], *, flexible: bool, optional: bool) -> None:
        self._kind = kind
        self._shape = _shape_of(kind)
        super().__init__(field.name, self._shape.bytes_min, flexible=flexible, optional=optional)

    def read(self, values: dict[str, Any], data: Data, at: int, budget: _Budget) -> Generator[None, None, int]:
        """Read it into `values`; return the position after it."""
        shape = self._shape
        count, at = self.count(data, at)
        if count is None:
            values[self.name] = None
            return at
        budget.spend(count, _OBJECT_BYTES)
        items = []
        wanted = budget.keep.get(self._kind)
        for _ in range(count):
            if shape.is_flat:
                item, at = shape.read_flat(data, at, budget)
            else:
                item, at = yield from shape.read(data, at, budget)
            if wanted is None or wanted(item):
                items.append(item)
            if at - budget.paused_at >= PIECE_BYTES:
                budget.paused_at = at
                yield
        values[self.name] = tuple(items)
        return at


class _Shape:
    """How a message is read: its fields in order, and its tagged ones by number.

    Attributes:
        bytes_min: The least that one message takes on the wire.
        is_flat: Whether it holds no list of messages, so that it is read without a pause.
    """

    def __init__(self, kind: type[Entity]) -> None:
        self._kind = kind
        self._flexible = bool(kind.__flexible__)
        fields = dataclasses.fields(kind)
        self._steps = _steps([one for one in fields if "tag" not in one.metadata], flexible=self._flexible)
        self._tagged = {
            int(one.metadata["tag"]): _steps([one], flexible=True)[0] for one in fields if "tag" in one.metadata
        }
        # A tagged field that is missing keeps its default.
        self.bytes_min = max(1, sum(step.bytes_min for step in self._steps) + int(self._flexible))
        self.is_flat = not any(isinstance(step, _Messages) for step in (*self._steps, *self._tagged.values()))

    def read_flat(self, data: Data, at: int, budget: _Budget) -> Plain:
        """Read a message that `is_flat`."""
        values: dict[str, Any] = {}
        for step in self._steps:
            at = step.read(values, data, at, budget)  # type: ignore[assignment] # no generator: it is flat
        if self._flexible and not data[at]:
            at += 1
        elif self._flexible:
            at = _finished(self._read_tags(values, data, at, budget))
        return self._kind(**values), at

    def read(self, data: Data, at: int, budget: _Budget) -> Generator[None, None, Plain]:
        """Read any message."""
        values: dict[str, Any] = {}
        for step in self._steps:
            at = yield from _taken(step, values, data, at, budget)
        if self._flexible:
            at = yield from self._read_tags(values, data, at, budget)
        return self._kind(**values), at

    def _read_tags(self, values: dict[str, Any], data: Data, at: int, budget: _Budget) -> Generator[None, None, int]:
        count, at = read_uvarint(data, at)
        for _ in range(count):
            tag, at = read_uvarint(data, at)
            size, at = read_uvarint(data, at)
            check_length(size, len(data) - at)
            step = self._tagged.get(tag)
            if step is not None:
                yield from _taken(step, values, data[: at + size], at, budget)
            at += size
        return at


_Step = _Run | _Varying | _Scalars | _Messages


def _steps(fields: Sequence[dataclasses.Field[Any]], *, flexible: bool) -> list[_Step]:
    """Return the steps that read these fields, in order."""
    steps: list[_Step] = []
    run: list[dataclasses.Field[Any]] = []
    for field in fields:
        inner, is_list, optional = _unwrapped(field.type)
        if not is_list and field.metadata.get("kafka_type") in FIXED:
            run.append(field)
            continue
        if run:
            steps.append(_Run(run))
            run = []
        if dataclasses.is_dataclass(inner):
            if not is_list:
                raise BugError(f"no reader for the message inside field {field.name}")
            kind = typing.cast("type[Entity]", inner)
            steps.append(_Messages(field, kind, flexible=flexible, optional=optional))
        else:
            make = _Scalars if is_list else _Varying
            steps.append(make(field, flexible=flexible, optional=optional))
    return [*steps, _Run(run)] if run else steps


def _taken(step: _Step, values: dict[str, Any], data: Data, at: int, budget: _Budget) -> Generator[None, None, int]:
    if isinstance(step, _Messages):
        return (yield from step.read(values, data, at, budget))
    return step.read(values, data, at, budget)


def _finished(reading: Generator[None, None, Any]) -> Any:
    """Run a generator to its end without pausing; return its result."""
    while True:
        try:
            next(reading)
        except StopIteration as done:
            return done.value


@cache
def _shape_of(kind: type[Entity]) -> _Shape:
    return _Shape(kind)


def _unwrapped(annotation: Any) -> tuple[Any, bool, bool]:
    """Return the type inside ``X | None`` and ``tuple[X, ...]``, whether it is a list, and whether it may be null."""
    optional = False
    if typing.get_origin(annotation) is types.UnionType:
        (annotation,) = (one for one in typing.get_args(annotation) if one is not types.NoneType)
        optional = True
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True, optional
    return annotation, False, optional
