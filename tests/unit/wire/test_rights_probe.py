"""Whether markers may be written, asked of a broker that is not there."""

from __future__ import annotations

from typing import cast

import pytest
from kio.schema.errors import ErrorCode
from kio.schema.types import ProducerId, TopicName
from kio.schema.write_txn_markers.v1 import response as markers_response
from kio.static.primitive import i32

from replicator.wire.messages.data.markers import WRITE_TXN_MARKERS
from replicator.wire.messages.rights_probe import NOWHERE, Verdict, may_write_markers
from replicator.wire.protocol.versions import ApiVersions
from replicator.wire.transport.connection import Connection


class Broker:
    """Answers each marker with one code; None leaves the partition out of the answer."""

    def __init__(self, code: ErrorCode | None, newest: int = 1) -> None:
        self.versions = ApiVersions({WRITE_TXN_MARKERS: (0, newest)})
        self.asked: list[bytes] = []
        self._code = code

    async def ask(self, api_key: int, version: int, body: list[bytes], body_bytes: int) -> None:
        """Remember what was asked."""
        assert (api_key, version, body_bytes) == (WRITE_TXN_MARKERS, 1, len(body[0]))
        self.asked += body

    async def decode(self, _: None, answer: type) -> markers_response.WriteTxnMarkersResponse:
        """Return the answer."""
        assert answer is markers_response.WriteTxnMarkersResponse
        if self._code is None:
            return markers_response.WriteTxnMarkersResponse(markers=())
        part = markers_response.WritableTxnMarkerPartitionResult(
            partition_index=i32(NOWHERE.partition), error_code=self._code
        )
        topic = markers_response.WritableTxnMarkerTopicResult(name=TopicName(NOWHERE.topic), partitions=(part,))
        marker = markers_response.WritableTxnMarkerResult(producer_id=ProducerId(-1), topics=(topic,))
        return markers_response.WriteTxnMarkersResponse(markers=(marker,))


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (ErrorCode.unknown_topic_or_partition, Verdict.ALLOWED),
        (ErrorCode.not_leader_or_follower, Verdict.ALLOWED),
        (ErrorCode.invalid_topic_exception, Verdict.ALLOWED),
        (ErrorCode.cluster_authorization_failed, Verdict.REFUSED),
        (ErrorCode.unknown_server_error, Verdict.OTHER),
        (ErrorCode.none, Verdict.OTHER),
        (None, Verdict.OTHER),
    ],
)
async def test_the_code_tells_whether_the_right_was_passed(code: ErrorCode | None, verdict: Verdict) -> None:
    """Only a complaint about the topic says so: it comes after the right was checked."""
    assert await may_write_markers(cast("Connection", Broker(code))) is verdict


async def test_what_is_asked_cannot_be_written() -> None:
    """One marker, since an empty list is answered alike with and without the right; for no topic there can be."""
    broker = Broker(ErrorCode.cluster_authorization_failed)
    await may_write_markers(cast("Connection", broker))
    assert broker.asked[0][0] == 2  # a compact array of one
    assert broker.asked[0].count(b"replicator/probe") == 1


async def test_a_broker_that_does_not_know_the_request_is_not_asked() -> None:
    """The slow way is left."""
    broker = Broker(ErrorCode.none, newest=0)
    assert await may_write_markers(cast("Connection", broker)) is Verdict.NOT_OFFERED
    assert broker.asked == []
