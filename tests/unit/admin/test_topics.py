"""What a cluster tells right after a topic was created, which may be of the one before."""

from __future__ import annotations

import pytest

from replicator.admin import topics
from replicator.admin.client import Connection
from replicator.admin.topics import TopicAdmin
from replicator.errors import NotOurs
from replicator.model.security import ClusterSpec

OLD, NEW, NONE = bytes([1] * 16), bytes([2] * 16), bytes(16)


class Admin(TopicAdmin):
    """An administrator whose broker is told of changes late."""

    def __init__(self, *told: bytes | None, seconds: float = 30.0) -> None:
        super().__init__(ClusterSpec("west", (("w", 1),), request_timeout_seconds=seconds))
        self.told = list(told)

    async def topic_id(self, name: str) -> bytes | None:
        """Return what the broker tells next; the last for ever."""
        assert name == "t"
        return self.told.pop(0) if len(self.told) > 1 else self.told[0]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Creations succeed at once, and looks follow each other closely."""

    async def call(*_: object, **__: object) -> dict[str, object]:
        return {}

    monkeypatch.setattr(topics, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(Connection, "call", call)


@pytest.mark.parametrize(
    ("told", "before", "found"),
    [
        ((OLD, OLD, None, NEW), {OLD}, NEW),
        ((None, NEW), set(), NEW),
        ((NONE,), {NONE}, NONE),
    ],
    ids=["behind the deletion", "behind the creation", "a cluster without ids"],
)
async def test_the_id_is_that_of_the_topic_that_was_created(
    told: tuple[bytes | None, ...], before: set[bytes], found: bytes
) -> None:
    """It is recorded as ours; the one of a deleted topic would fault the mirror, or prove what is not ours."""
    made = await Admin(*told).create_topic("t", 1, 1, {}, before=before)
    assert made.topic_id == found


async def test_a_topic_that_is_never_told_of_is_not_taken_for_ours() -> None:
    """Somebody may have deleted it at once."""
    with pytest.raises(NotOurs):
        await Admin(OLD, seconds=0.05).create_topic("t", 1, 1, {}, before={OLD})
