"""Logins that a cluster refused are not retried at full speed: many directories lock an account after ten failures.

All flows of a process share what they know about one set of credentials. Once it is refused, one login is tried at a
time, and the pauses double up to `PAUSE_SECONDS_MAX`; with a new password in the file, or after a reload of the flow
file, it is tried immediately. An address that was never tried gets one attempt: one of several bootstrap entries may
not be a broker of the cluster.

Some brokers refuse correct credentials for a while (SCRAM users that a new broker has not read yet, a directory that is
down), so we never give up.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from replicator.credentials import read_password, read_token
from replicator.errors import AuthenticationFailed
from replicator.model.security import Mechanism

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.model.security import ClusterSpec, Security

PAUSE_SECONDS: Final = 5.0
PAUSE_SECONDS_MAX: Final = 600.0
TOKEN_PAUSE_SECONDS_MAX: Final = 60.0
"""A token is not an account's password, and may be renewed at any time."""
_TURN_SECONDS = 60.0
_ADDRESSES_MAX = 1024
_KNOWN_MAX = 256


@dataclass(slots=True)
class _Refusals:
    times: int = 0
    until: float = 0.0


class Logins:
    """What is known about one set of credentials at one cluster. Thread-safe.

    Args:
        cluster: The cluster.
        now: Monotonic time.

    Attributes:
        trying: Addresses with a login under way.
        proven: Whether the last completed login was accepted.
    """

    def __init__(self, cluster: ClusterSpec, now: Callable[[], float] = time.monotonic) -> None:
        self.trying: set[str] = set()
        self.proven = False
        self._cluster = cluster
        self._now = now
        self._lock = threading.Lock()
        self._all = _Refusals()
        self._at: OrderedDict[str, _Refusals] = OrderedDict()
        self._error: AuthenticationFailed | None = None
        self._secret: bytes | None = None

    def check(self, address: str | None) -> None:
        """Return if a login may be tried now; reads the secret if the last login was refused.

        Args:
            address: Where; None for a client that chooses the address itself.

        Raises:
            AuthenticationFailed: Not yet; with the reason of the last refusal, and until when.
        """
        if self._error is None and not self._at:
            return
        if self._secret is not None and self._fingerprint() != self._secret:
            self.forget()
            return
        with self._lock:
            error, left = self._error, self._left_seconds(address)
        if error is not None and left > 0:
            raise self._held(error, left)

    def taken(self, address: str) -> None:
        """Note that a login was accepted."""
        with self._lock:
            self._at.pop(address, None)
            self._all = _Refusals()
            self.proven = True
            if not self._at:
                self._error = None

    def note_refusal(self, address: str, error: AuthenticationFailed) -> None:
        """Note that a login was refused."""
        secret = self._fingerprint()
        with self._lock:
            self.proven = False
            self._error, self._secret = error, secret
            self._all.times += 1
            self._all.until = self._now() + self._pause_seconds(self._all.times)
            here = self._at.setdefault(address, _Refusals())
            here.times += 1
            here.until = self._now() + self._pause_seconds(here.times)
            self._at.move_to_end(address)
            while len(self._at) > _ADDRESSES_MAX:
                self._at.popitem(last=False)

    def forget(self) -> None:
        """Allow an immediate retry: there is reason to believe that it may succeed now."""
        with self._lock:
            self._all = _Refusals()
            self._at.clear()
            self._error = None

    def _left_seconds(self, address: str | None) -> float:
        if address is not None and address not in self._at:
            return 0.0
        if address is None:
            return self._all.until - self._now()
        until = max(self._all.until, self._at[address].until)
        if not self.proven and address != next(iter(self._at)):
            # It is the turn of the address refused longest ago; but that may be gone, or nobody may ask for it.
            until = max(until, self._all.until + _TURN_SECONDS)
        return until - self._now()

    def _pause_seconds(self, times: int) -> float:
        bearer = self._cluster.security.mechanism is Mechanism.OAUTHBEARER
        longest = TOKEN_PAUSE_SECONDS_MAX if bearer else PAUSE_SECONDS_MAX
        return float(min(PAUSE_SECONDS * 2 ** min(times - 1, 10), longest))

    def _fingerprint(self) -> bytes | None:
        """Return a hash that shows whether the secret has changed; None if reading it has a cost."""
        security = self._cluster.security
        if security.token_command:
            return None
        bearer = security.mechanism is Mechanism.OAUTHBEARER
        try:
            secret = read_token(self._cluster) if bearer else read_password(self._cluster)
        except AuthenticationFailed:
            return None
        return hashlib.sha256(secret.encode(errors="replace")).digest()

    def _held(self, error: AuthenticationFailed, left_seconds: float) -> AuthenticationFailed:
        at = datetime.now(UTC) + timedelta(seconds=left_seconds)
        other = "another token" if self._cluster.security.mechanism is Mechanism.OAUTHBEARER else "another password"
        return AuthenticationFailed(
            error.what,
            cluster=error.cluster,
            why=f"{error.why}; so that no account gets locked, the next attempt is at {at:%H:%M:%S} UTC",
            next_step=f"{error.next_step}; with {other}, or after a reload (SIGHUP), it is tried immediately",
        )


_known: OrderedDict[tuple[tuple[tuple[str, int], ...], Security], Logins] = OrderedDict()
_knowing = threading.Lock()


def logins_of(cluster: ClusterSpec) -> Logins:
    """Return what this process knows about a cluster's credentials."""
    key = (cluster.bootstrap, cluster.security)
    with _knowing:
        found = _known.setdefault(key, Logins(cluster))
        _known.move_to_end(key)
        while len(_known) > _KNOWN_MAX:
            _known.popitem(last=False)
        return found


def forget_refusals() -> None:
    """Allow an immediate retry of every login."""
    with _knowing:
        known = list(_known.values())
    for one in known:
        one.forget()
