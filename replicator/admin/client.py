"""One librdkafka admin client behind coroutines: bounded calls in threads, errors of our tree."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from replicator.admin.client_config import client_config
from replicator.admin.faults import AUTHENTICATION, error_of, fault
from replicator.aio.threads import threads_of
from replicator.backoff import Backoff
from replicator.core.acl.rights import Operation, on_cluster
from replicator.errors import AuthenticationFailed, AuthorizationFailed, BrokerRefused, ConnectionFailed
from replicator.logins import logins_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping
    from concurrent.futures import Future

    from replicator.core.acl.rights import Grant
    from replicator.model.security import ClusterSpec

_POLL_SECONDS = (0.001, 0.1)
_MARGIN_SECONDS = 2.0
"""librdkafka ends a request at its time-out by itself; past this margin we end it."""
_CLOSE_SECONDS_MAX = 2.0
_KEPT_SECONDS = 20.0
"""How old a client must be to be made anew where the cluster is out of its reach."""
_SOME_BROKER = "a broker of librdkafka's choice"

K = TypeVar("K", bound="Hashable")


class Connection:
    """An admin client that is made at first use and answers in the terms of `replicator.errors`.

    Calls may come from several tasks at once. A cancelled call leaves its thread to end within the time-out.

    Attributes:
        before: Awaited before each call, which is not made if it raises; None for nothing.
    """

    def __init__(self, cluster: ClusterSpec) -> None:
        self.cluster = cluster
        self._pool = f"admin {cluster.alias}"
        self._client: AdminClient | None = None
        self._made_at = 0.0
        self._making = threading.Lock()
        self._seen: Code | None = None
        self.before: Callable[[], Awaitable[None]] | None = None

    async def call(
        self,
        start: Callable[[AdminClient], Mapping[K, Future[Any]]],
        *,
        doing: str,
        api: str,
        right: Grant,
        absent: frozenset[int] = frozenset(),
        errors: dict[K, Code] | None = None,
    ) -> dict[K, Any]:
        """Start one request and return the result of each of its parts.

        Args:
            start: Starts it on the client and returns its futures.
            doing: Completes "could not ...".
            api: Kafka's name of the request.
            right: What it needs, for the message.
            absent: Error codes that leave a part out of the result instead of raising.
            errors: Takes the error of each part that the cluster refuses by itself, so that the others are returned;
                None: the first one is raised.

        Raises:
            KafkaError: The first part that failed, in the terms of our tree.
        """
        if self.before is not None:
            await self.before()
        return await threads_of(self._pool).run(self._call, start, doing, api, right, absent, errors)

    async def close(self) -> None:
        """Let go of the client; a later call makes a new one. One that hangs is left to its thread."""
        with self._making:
            let_go, self._client = [self._client], None
        if let_go[0] is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS_MAX):
                    await threads_of(self._pool).run(_drop, let_go)

    def _call(
        self,
        start: Callable[[AdminClient], Mapping[K, Future[Any]]],
        doing: str,
        api: str,
        right: Grant,
        absent: frozenset[int],
        errors: dict[K, Code] | None,
    ) -> dict[K, Any]:
        logins = logins_of(self.cluster)
        logins.check(None)
        try:
            return self._answered(start, doing, api, right, absent, errors)
        except AuthenticationFailed as error:
            if error.refused:
                logins.note_refusal(_SOME_BROKER, error)
                self._let_go()
            raise
        except ConnectionFailed:
            # It may know brokers by addresses that they have no more, and asks for new ones every five minutes only.
            if time.monotonic() - self._made_at > _KEPT_SECONDS:
                self._let_go()
            raise

    def _let_go(self) -> None:
        """Make a new client for the next call: this one would go on logging in beside it, for as long as it lives."""
        with self._making:
            let_go, self._client = [self._client], None
        _drop(let_go)

    def _answered(
        self,
        start: Callable[[AdminClient], Mapping[K, Future[Any]]],
        doing: str,
        api: str,
        right: Grant,
        absent: frozenset[int],
        errors: dict[K, Code] | None,
    ) -> dict[K, Any]:
        client = self._made()
        results: dict[K, Any] = {}
        self._seen = None
        try:
            futures = start(client)
            self._wait(client, futures)
            for key, future in futures.items():
                try:
                    results[key] = future.result(timeout=0)
                except KafkaException as error:
                    code = error_of(error)
                    if code.code() in absent:
                        continue
                    failure = fault(code, self.cluster, doing=doing, api=api, right=right, seen=self._seen)
                    if errors is None or not isinstance(failure, (AuthorizationFailed, BrokerRefused)):
                        raise failure from None
                    errors[key] = code
        except KafkaException as error:
            raise fault(error_of(error), self.cluster, doing=doing, api=api, right=right, seen=self._seen) from None
        return results

    def _wait(self, client: AdminClient, futures: Mapping[K, Future[Any]]) -> None:
        """Poll until every part has ended: polling serves log lines, error and token callbacks.

        Raises:
            KafkaException: A login was refused (librdkafka would go on trying), or time is up.
        """
        deadline = time.monotonic() + self.cluster.request_timeout_seconds + _MARGIN_SECONDS
        pending = list(futures.values())
        pauses = Backoff(*_POLL_SECONDS)
        while pending := [future for future in pending if not future.done()]:
            client.poll(pauses.next_seconds())
            if self._seen is not None and self._seen.code() in AUTHENTICATION:
                raise KafkaException(self._seen)
            if time.monotonic() > deadline:
                raise KafkaException(Code(Code.REQUEST_TIMED_OUT))

    def _made(self) -> AdminClient:
        with self._making:
            if self._client is None:
                config = client_config(self.cluster)
                config["error_cb"] = self._note
                try:
                    self._client = AdminClient(config)
                    self._made_at = time.monotonic()
                except KafkaException as error:  # an unreadable certificate, an unknown mechanism
                    raise fault(
                        error_of(error),
                        self.cluster,
                        doing="set up a client",
                        api="configuration",
                        right=on_cluster(Operation.DESCRIBE),
                        seen=Code(Code._SSL, error_of(error).str()),  # noqa: SLF001 - only TLS files are read there
                    ) from None
            return self._client

    def _note(self, error: Code) -> None:
        # Once all brokers are down the reason is in the error before; keep the more telling one.
        if error.code() != Code._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._seen = error


def _drop(client: list[AdminClient | None]) -> None:
    """Serve what is queued (log lines, errors), then let go of it here: the destructor joins librdkafka's threads."""
    let_go = client.pop()
    if let_go is not None:
        let_go.poll(0)
