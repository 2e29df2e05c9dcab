"""Wrong credentials lock no account: all flows of a process try them together, ever more seldom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from replicator.errors import AuthenticationFailed
from replicator.logins import PAUSE_SECONDS_MAX, TOKEN_PAUSE_SECONDS_MAX, Logins, forget_refusals, logins_of
from replicator.model.security import ClusterSpec, Mechanism, Protocol, Secret, Security

SECURITY = Security(Protocol.SASL_SSL, Mechanism.PLAIN, username="repl", password=Secret("wrong"))
SPEC = ClusterSpec("west", (("a", 1), ("b", 1), ("c", 1)), security=SECURITY)
REFUSED = AuthenticationFailed("cannot log in", cluster="west", why="no", next_step="check", refused=True)


@dataclass
class Clock:
    """Monotonic time, set by hand."""

    seconds: float = 0.0

    def __call__(self) -> float:
        """Return it."""
        return self.seconds


def tries(logins: Logins, clock: Clock, addresses: tuple[str, ...], minutes: int) -> list[tuple[float, str]]:
    """Return when and where a refused login is tried by somebody who asks for each address once a second."""
    found = []
    for _ in range(minutes * 60):
        for address in addresses:
            try:
                logins.check(address)
            except AuthenticationFailed:
                continue
            found.append((clock.seconds, address))
            logins.note_refusal(address, REFUSED)
        clock.seconds += 1
    return found


def test_ten_tries_in_ten_minutes_lock_an_account() -> None:
    """By the usual policy of a directory. There were 63 in 75 s, with three flows and three brokers."""
    clock = Clock()
    made = tries(Logins(SPEC, clock), clock, ("a", "b", "c"), 60)
    for begin, _ in made:
        assert sum(begin <= at < begin + 600 for at, _ in made) < 10
    assert {address for _, address in made[:3]} == {"a", "b", "c"}
    assert {address for _, address in made[3:]} == {"a", "b", "c"}
    assert max(after - before for (before, _), (after, _) in pairwise(made)) <= PAUSE_SECONDS_MAX + 1


def test_one_address_is_tried_again_for_ever() -> None:
    """The account may be unlocked by somebody else."""
    clock = Clock()
    made = tries(Logins(SPEC, clock), clock, ("a",), 120)
    assert len(made) > 8
    assert made[-1][0] > 100 * 60


def test_it_says_why_and_until_when() -> None:
    """In the words of the broker, with what helps."""
    logins = Logins(SPEC)
    logins.note_refusal("a", REFUSED)
    with pytest.raises(AuthenticationFailed, match="cannot log in") as held:
        logins.check("a")
    assert held.value.why.startswith("no; so that no account gets locked, the next attempt is at ")
    assert "SIGHUP" in held.value.next_step
    assert not held.value.refused
    with pytest.raises(AuthenticationFailed):
        logins.check(None)
    logins.forget()
    logins.check("a")
    logins.check(None)


def test_another_password_is_tried_at_once(tmp_path: Path) -> None:
    """The file is read again before each try; an unreadable one is no other password."""
    file = tmp_path / "password"
    file.write_text("wrong\n")
    logins = Logins(replace(SPEC, security=replace(SECURITY, password=None, password_file=file)))
    logins.note_refusal("a", REFUSED)
    with pytest.raises(AuthenticationFailed):
        logins.check("a")
    file.write_text("right\n")
    logins.check("a")
    logins.check(None)


def test_a_broker_that_refuses_alone_is_left_alone() -> None:
    """What others take is not held back; and a login that they take does not have it tried again."""
    clock = Clock()
    logins = Logins(SPEC, clock)
    for _ in range(3):
        logins.note_refusal("a", REFUSED)
    logins.check("b")
    logins.taken("b")
    logins.check(None)
    with pytest.raises(AuthenticationFailed):
        logins.check("a")
    clock.seconds += PAUSE_SECONDS_MAX
    logins.check("a")
    logins.taken("a")
    logins.check("a")


def test_tokens_are_tried_again_within_a_minute() -> None:
    """They expire, and are renewed by somebody else; a command that makes them is not run to look."""
    clock = Clock()
    bearer = Security(Protocol.SASL_SSL, Mechanism.OAUTHBEARER, token_command=("/does/not/exist",))
    logins = Logins(replace(SPEC, security=bearer), clock)
    for _ in range(20):
        logins.note_refusal("a", REFUSED)
    clock.seconds += TOKEN_PAUSE_SECONDS_MAX
    logins.check("a")


def test_flows_share_what_is_known() -> None:
    """For the same user at the same cluster; a reload lets all be tried again."""
    one = logins_of(SPEC)
    assert logins_of(replace(SPEC, alias="also-west")) is one
    assert logins_of(replace(SPEC, security=replace(SECURITY, password=Secret("other")))) is not one
    one.note_refusal("a", REFUSED)
    with pytest.raises(AuthenticationFailed):
        logins_of(SPEC).check("a")
    forget_refusals()
    logins_of(SPEC).check("a")
