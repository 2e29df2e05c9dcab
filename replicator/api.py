"""Translation of offsets for programs: the answer of `replicator offsets translate`, as values.

For example, where on the target does a consumer continue that was at offset 1,204 of the source? ::

    from replicator.api import translate

    found = translate("127.0.0.1:7443", "east-to-west", "orders", 0, 1204)
    if found.target_offset is not None:
        consumer.seek(found.target_topic, found.partition, found.target_offset)
    else:
        print(found.state, found.detail)    # for example: not_yet_replicated, 12 records behind

Every call opens its own connection. For many questions keep one open:
`replicator.rpc.client.control_client.ControlClient` has the same calls, takes any number of questions at once, and
takes TLS files with its `Endpoint`.
"""

from __future__ import annotations

from replicator.model.operations.translation import OffsetQuestion, TimeQuestion, Translation, TranslationState
from replicator.rpc.client.control_client import ControlClient
from replicator.rpc.client.endpoint import Endpoint

__all__ = [
    "ControlClient",
    "Endpoint",
    "OffsetQuestion",
    "TimeQuestion",
    "Translation",
    "TranslationState",
    "translate",
    "translate_group",
    "translate_time",
]


def translate(
    address: str | Endpoint, flow: str, topic: str, partition: int, offset: int, *, reverse: bool = False
) -> Translation:
    """Translate one offset.

    Args:
        address: `HOST:PORT` of a daemon that runs the flow, or an `Endpoint` with TLS files.
        flow: Name of the flow.
        topic: Name of the topic: on the source, or with `reverse` on the target.
        partition: Number of the partition.
        offset: The next record to read on that side, as in a committed offset.
        reverse: Translate from the target to the source.

    Returns:
        The answer. Its `target_offset` (with `reverse` its `source_offset`) is None if there is none, or none yet:
        `state` and `detail` say why.

    Raises:
        UsageError: The daemon has no such flow, topic or partition.
        DaemonUnreachable: Nothing answers at the address.
        TimedOut: No answer in time.
        ReplicatorError: Whatever else the daemon raised.
    """
    with ControlClient(_endpoint(address)) as client:
        return client.translate(flow, [OffsetQuestion(topic, partition, offset)], reverse=reverse)[0]


def translate_time(
    address: str | Endpoint, flow: str, topic: str, time_ms: int, partition: int | None = None
) -> tuple[Translation, ...]:
    """Translate a point in time: find the target offset of the source's first record at or after that time.

    A lookup by time on the target itself may find markers, whose time is later than that of what they replace.

    Args:
        address: `HOST:PORT` of a daemon that runs the flow, or an `Endpoint` with TLS files.
        flow: Name of the flow.
        topic: Name of the topic on the source.
        time_ms: Unix time in milliseconds.
        partition: Number of the partition; None for all of the topic's.

    Raises:
        ReplicatorError: As for `translate`.
    """
    with ControlClient(_endpoint(address)) as client:
        return client.translate_time(flow, TimeQuestion(topic, time_ms, partition))


def translate_group(
    address: str | Endpoint, flow: str, group: str, *, reverse: bool = False
) -> tuple[Translation, ...]:
    """Translate every offset that a consumer group has committed in the flow's topics, by topic and partition.

    ::

        for each in translate_group("127.0.0.1:7443", "east-to-west", "billing"):
            print(each.target_topic, each.partition, each.target_offset, each.state)

    Args:
        address: `HOST:PORT` of a daemon that runs the flow, or an `Endpoint` with TLS files.
        flow: Name of the flow.
        group: The group, whose commits are read on the source, or with `reverse` on the target.
        reverse: Translate from the target to the source.

    Raises:
        UsageError: The daemon has no such flow, or the group has committed nothing in its topics.
        AuthorizationFailed: The daemon may not read the group (it needs Describe on it).
        ReplicatorError: As for `translate`.
    """
    with ControlClient(_endpoint(address)) as client:
        return client.translate_group(flow, group, reverse=reverse)


def _endpoint(address: str | Endpoint) -> Endpoint:
    return address if isinstance(address, Endpoint) else Endpoint(address)
