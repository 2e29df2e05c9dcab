"""Every error this project raises on purpose, in one tree.

::

    ReplicatorError                   what happened, why, and the next command
    ├── UsageError                    a command line that makes no sense             exit 2
    ├── ConfigError                   a flow file with mistakes, all at once         exit 78
    ├── PreflightFailed               checks that refuse a step                      exit 3
    │   └── AccessDenied              the caller of a daemon may not do this
    ├── Conflict                      someone else holds or changed it               exit 4
    │   ├── Fenced                    a higher epoch owns the target
    │   ├── HeldElsewhere             another daemon of the flow takes this order
    │   └── ClaimLost                 the claim on a shard is not, or no longer, ours
    ├── TimedOut                      a bounded wait ended                           exit 5
    ├── Busy                          a daemon already answers as many calls as it allows
    ├── KafkaError                    a cluster did not do what was asked
    │   ├── ConnectionFailed          no usable connection; retryable
    │   ├── AuthenticationFailed      wrong credentials or certificate
    │   ├── AuthorizationFailed       the cluster denies this user the right
    │   ├── BrokerRefused             an error code in an answer
    │   ├── NotOurs                   the topic of that name is not the one proven to be ours; retryable
    │   ├── DamagedRecord             a record of replicator.state that cannot be read
    │   ├── ProtocolError             bytes that are not the Kafka protocol
    │   │   └── AnswerTooLarge        an answer with more bytes than are accepted
    │   └── WrongCluster              the cluster id differs from the expected one
    ├── CorruptRecords                bytes that are not a valid record batch
    ├── TooLargeToOpen                a batch that expands beyond what may be opened at once
    ├── Unequal                       two sides differ (verify)
    ├── Undecided                     an inconclusive comparison                     exit 5
    ├── StoreError                    the local state directory cannot be used
    │   └── StoreFull                 its disk is full
    ├── DaemonUnreachable             no daemon answers at the rpc address
    ├── DevkitError                   a local test cluster could not be run
    ├── NotAvailable                  a capability of a later version
    └── BugError                      an invariant of ours is broken; never expected

Errors are returned or raised, never logged and dropped.
The text that a person sees is built here from the fields, so it always has the same three parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


class ReplicatorError(Exception):
    """Base of the tree.

    Attributes:
        what: What happened, one sentence.
        why: The cause as far as known, or an empty string.
        next_step: The command or action that helps, or an empty string.
        exit_code: What the command line exits with.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", next_step: str = "") -> None:
        self.what = what
        self.why = why
        self.next_step = next_step
        super().__init__(what)

    def __str__(self) -> str:
        text = self.what
        if self.why:
            text += f": {self.why}"
        return text

    def again(self) -> Self:
        """Return a copy of this error, for someone else to raise.

        Each raise attaches the frames it passes to the error. What those frames hold may hold the error: a reference
        cycle that only the garbage collector breaks.
        """
        one = type(self).__new__(type(self))
        one.args = self.args
        one.__dict__.update(self.__dict__)
        return one

    def with_next_step(self) -> str:
        """Return the whole error as one line, for places that keep a single text."""
        return f"{self}; next: {self.next_step}" if self.next_step else str(self)


class UsageError(ReplicatorError):
    """A command line that makes no sense."""

    exit_code = 2


class ConfigError(ReplicatorError):
    """A flow file with mistakes.

    Attributes:
        problems: Every mistake, each already formatted as ``file:line:column: ...``.
    """

    exit_code = 78

    def __init__(self, what: str, *, problems: Sequence[str] = (), why: str = "", next_step: str = "") -> None:
        super().__init__(what, why=why, next_step=next_step)
        self.problems = tuple(problems)


class PreflightFailed(ReplicatorError):
    """Checks that refuse a step."""

    exit_code = 3


class AccessDenied(PreflightFailed):
    """A daemon does not do this for this caller."""


class Conflict(ReplicatorError):
    """Someone else holds it, or has changed it in the meantime."""

    exit_code = 4


class Fenced(Conflict):
    """A higher producer epoch, or another role, owns the target."""


class ClaimLost(Conflict):
    """The claim on a shard is not, or no longer, ours."""


class HeldElsewhere(Conflict):
    """Another daemon of the flow takes this order: it has to be asked directly.

    Attributes:
        address: Where it answers (`host:port`), empty if not known.
    """

    def __init__(self, what: str, *, address: str, why: str = "", next_step: str = "") -> None:
        super().__init__(what, why=why, next_step=next_step)
        self.address = address


class FlowMoves(ReplicatorError):
    """The flow copies from another cluster than this daemon's file says, or is about to: it starts again there.

    Attributes:
        source: Alias and id of the cluster that it copies from; None while it is being moved.
    """

    def __init__(self, what: str, source: tuple[str, str] | None = None, *, why: str = "", next_step: str = "") -> None:
        super().__init__(what, why=why, next_step=next_step)
        self.source = source


class TimedOut(ReplicatorError):
    """A bounded wait ended."""

    exit_code = 5


class Busy(ReplicatorError):
    """A daemon already answers as many calls as it allows, in total or for this caller."""


class KafkaError(ReplicatorError):
    """A cluster did not do what was asked.

    Attributes:
        cluster: Alias of the cluster.
        retryable: Whether the same request may succeed later without an operator changing anything.
    """

    def __init__(self, what: str, *, cluster: str, why: str = "", next_step: str = "", retryable: bool = False) -> None:
        super().__init__(what, why=why, next_step=next_step)
        self.cluster = cluster
        self.retryable = retryable


class ConnectionFailed(KafkaError):
    """No usable connection, or one that was lost with requests in flight."""

    def __init__(self, what: str, *, cluster: str, why: str = "", next_step: str = "") -> None:
        super().__init__(what, cluster=cluster, why=why, next_step=next_step, retryable=True)


class AuthenticationFailed(KafkaError):
    """Wrong credentials, or a certificate that does not verify.

    Attributes:
        refused: Whether the other side saw the credentials and refused them, which counts against the account.
    """

    def __init__(
        self,
        what: str,
        *,
        cluster: str,
        why: str = "",
        next_step: str = "",
        retryable: bool = False,
        refused: bool = False,
    ) -> None:
        super().__init__(what, cluster=cluster, why=why, next_step=next_step, retryable=retryable)
        self.refused = refused


class AuthorizationFailed(KafkaError):
    """The cluster denies this user the right."""


class MarkersNotShown(KafkaError):
    """The cluster accepts control markers but does not return them: nothing may be filled there."""


class NotOurs(KafkaError):
    """The topic of that name is gone, or not the one proven to be ours: nothing in it was changed.

    Whoever wanted to change it reads the topic's state again.
    """

    def __init__(self, what: str, *, cluster: str, why: str = "", next_step: str = "") -> None:
        super().__init__(what, cluster=cluster, why=why, next_step=next_step, retryable=True)


class DamagedRecord(KafkaError):
    """A record of `replicator.state` that this version cannot read: only what the record is about stops."""


class ProtocolError(KafkaError):
    """Bytes that are not the Kafka protocol, or exceed a bound."""


class AnswerTooLarge(ProtocolError):
    """An answer with more bytes than are accepted; it was not read, and its connection is closed.

    Attributes:
        claimed_bytes: Its length according to its first four bytes; None if another process reported the answer.
    """

    def __init__(
        self,
        what: str,
        *,
        cluster: str,
        claimed_bytes: int | None = None,
        why: str = "",
        next_step: str = "",
        retryable: bool = False,
    ) -> None:
        super().__init__(what, cluster=cluster, why=why, next_step=next_step, retryable=retryable)
        self.claimed_bytes = claimed_bytes


class WrongCluster(KafkaError):
    """The cluster id differs from the expected one."""


class BrokerRefused(KafkaError):
    """An error code in an answer.

    Attributes:
        code: Kafka's numeric error code.
        api: Name of the request that was answered.
    """

    def __init__(
        self,
        what: str,
        *,
        cluster: str,
        code: int,
        api: str,
        why: str = "",
        next_step: str = "",
        retryable: bool = False,
    ) -> None:
        super().__init__(what, cluster=cluster, why=why, next_step=next_step, retryable=retryable)
        self.code = code
        self.api = api


class StateLost(BrokerRefused):
    """The topic in which a flow records what it does was deleted: only an operator can resolve that."""


class CorruptRecords(ReplicatorError):
    """Bytes that are not a valid record batch."""


class TooLargeToOpen(ReplicatorError):
    """A batch whose records take more memory to open than is allowed; the batch itself may be valid.

    Attributes:
        offset: Where the batch begins; -1 if not known here.
    """

    def __init__(self, what: str, *, why: str = "", next_step: str = "", offset: int = -1) -> None:
        super().__init__(what, why=why, next_step=next_step)
        self.offset = offset


class Unequal(ReplicatorError):
    """Two sides differ."""


class Undecided(ReplicatorError):
    """A comparison found data that it can call neither equal nor different."""

    exit_code = 5


class StoreError(ReplicatorError):
    """The local state directory cannot be used (full disk, damaged file, wrong rights)."""


class StoreFull(StoreError):
    """Its disk is full: only what it was about to store is lost."""


class StoreDamaged(StoreError):
    """One of its files has the wrong format or is incomplete: nothing in it is used."""


class DaemonUnreachable(ReplicatorError):
    """No daemon answers at the rpc address."""


class DevkitError(ReplicatorError):
    """A local test cluster could not be run."""


class NotAvailable(ReplicatorError):
    """A capability of a later version."""

    exit_code = 2


class BugError(ReplicatorError):
    """An invariant of ours is broken."""
