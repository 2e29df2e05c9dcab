"""Which request versions we use, and whether a broker supports them (KIP-35, KIP-511).

One version per control message is enough: the one that every broker from 2.8 to 4.x accepts (KAFKA_FACTS K1).
Fetch and Produce have two, by topic name and by topic id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from kio.schema.api_versions.v3.request import ApiVersionsRequest
from kio.schema.api_versions.v3.response import ApiVersionsResponse
from kio.schema.errors import ErrorCode

from replicator import __version__
from replicator.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kio.static.protocol import Entity

    from replicator.model.security import ClusterSpec

PRODUCE: Final = 0
FETCH: Final = 1
LIST_OFFSETS: Final = 2
DESCRIBE_PRODUCERS: Final = 61

FETCH_BY_NAME: Final = 12
FETCH_BY_ID: Final = 13
PRODUCE_BY_NAME: Final = 9
PRODUCE_BY_ID: Final = 13
LIST_OFFSETS_LOCAL: Final = 8
"""This version can return where the part of a log begins that its leader keeps locally."""

_NEEDED: Final = {
    FETCH: ("Fetch", FETCH_BY_NAME),
    PRODUCE: ("Produce", PRODUCE_BY_NAME),
    LIST_OFFSETS: ("ListOffsets", 6),
    3: ("Metadata", 10),
    22: ("InitProducerId", 4),
    23: ("OffsetForLeaderEpoch", 4),
}


class ApiVersions:
    """The version ranges one broker offers, by API key."""

    def __init__(self, ranges: Mapping[int, tuple[int, int]]) -> None:
        self._ranges = dict(ranges)

    def offers(self, api_key: int, version: int) -> bool:
        """Return whether the broker accepts this version of this request."""
        low, high = self._ranges.get(api_key, (0, -1))
        return low <= version <= high

    @property
    def fetch(self) -> int:
        """Fetch version to use: by topic id where offered, so that a re-created topic is never read by mistake."""
        return FETCH_BY_ID if self.offers(FETCH, FETCH_BY_ID) else FETCH_BY_NAME

    @property
    def produce(self) -> int:
        """Produce version to use: by topic id where offered, so that a re-created topic is never written to."""
        return PRODUCE_BY_ID if self.offers(PRODUCE, PRODUCE_BY_ID) else PRODUCE_BY_NAME


R = TypeVar("R", bound="Entity")


class Caller(Protocol):
    """What a login needs from a connection."""

    cluster: ClusterSpec
    node: str

    async def call(self, request: Entity, answer: type[R], *, urgent: bool = False) -> R:
        """See `Connection.call`."""


async def negotiate(connection: Caller) -> ApiVersions:
    """Ask a broker for its versions.

    Raises:
        ProtocolError: It lacks a required one.
    """
    request = ApiVersionsRequest(client_software_name="replicator", client_software_version=__version__)
    answer = await connection.call(request, ApiVersionsResponse)
    if answer.error_code is not ErrorCode.none:
        raise _too_old(connection, f"it answers ApiVersions with {answer.error_code.name}")
    versions = ApiVersions({int(key.api_key): (int(key.min_version), int(key.max_version)) for key in answer.api_keys})
    missing = [f"{name} v{version}" for key, (name, version) in _NEEDED.items() if not versions.offers(key, version)]
    if missing:
        raise _too_old(connection, f"it does not offer {', '.join(missing)}")
    return versions


def _too_old(connection: Caller, why: str) -> ProtocolError:
    return ProtocolError(
        f"{connection.node} of cluster {connection.cluster.alias!r} is not a supported Kafka version",
        cluster=connection.cluster.alias,
        why=why,
        next_step="Kafka 2.8 or newer is needed",
    )
