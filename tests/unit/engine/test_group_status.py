"""Where commits stand on the target, and what is shown of a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from replicator.core.groups.sync import CommitVerdict, TranslatedCommit
from replicator.engine.groups.places import translate_commits
from replicator.engine.groups.positions import MirrorName
from replicator.engine.groups.sides import SideView, other_kind
from replicator.engine.groups.status import GroupSnapshot, Sides, outcome, picture
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import OffsetQuestion, Translation, TranslationState
from replicator.model.status.groups import Committed, GroupKind, GroupState, Listed

ORDERS, COPY = TopicPartition("orders", 0), TopicPartition("east.orders", 0)
NAMES = ("orders", "east.orders")
MARKERS = 3
COPIED = 100


class FakePositions:
    """Copied up to 100, where every offset stands 3 lower on the target."""

    def __init__(self) -> None:
        self.asked: list[OffsetQuestion] = []

    def mirrors(self, *, every: bool = False) -> Mapping[str, MirrorName]:
        """Return one mirror of two partitions."""
        assert not every
        return {"orders": MirrorName("east.orders", 2)}

    def wanted(self, *, every: bool = False) -> Iterable[TopicPartition]:  # noqa: ARG002 - as the port says
        """Return its partitions."""
        return [ORDERS, TopicPartition("orders", 1)]

    def behind(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """Return what lies beyond."""
        return {where: f"copied up to {COPIED}" for where, end in ends.items() if end > COPIED}

    async def translate(self, questions: Sequence[OffsetQuestion]) -> Sequence[Translation]:
        """Answer as `engine.offsets.translate` does."""
        self.asked += questions
        return [self._answer(one.partition, one.offset) for one in questions]

    def _answer(self, partition: int, offset: int) -> Translation:
        if offset <= COPIED:
            return Translation(*NAMES, partition, offset, offset - MARKERS, TranslationState.EXACT)
        beyond = offset - COPIED
        said = f"{beyond} records behind"
        return Translation(*NAMES, partition, offset, None, TranslationState.NOT_YET_REPLICATED, beyond, said)


async def test_each_offset_is_asked_about_once_and_what_lies_beyond_knows_the_end() -> None:
    """Whoever committed it; topics of no mirror and partitions that are not copied yet are not asked about."""
    positions = FakePositions()
    grown = TopicPartition("orders", 2)
    commits = {
        "a": {ORDERS: Committed(50), TopicPartition("other", 0): Committed(1)},
        "b": {ORDERS: Committed(50), grown: Committed(7)},
        "c": {ORDERS: Committed(130)},
    }

    translated = await translate_commits(positions, positions.mirrors(), commits)

    assert translated[ORDERS, 50] == TranslatedCommit(TranslationState.EXACT, 47, detail="exact")
    assert translated[ORDERS, 130] == TranslatedCommit(
        TranslationState.NOT_YET_REPLICATED, None, 97, 30, "not_yet_replicated: 30 records behind"
    )
    assert translated[grown, 7].offset is None
    assert translated[grown, 7].detail == "the flow does not copy this partition yet"
    assert [one.offset for one in positions.asked] == [50, 130, 100]
    assert len(translated) == 3


def seen(verdict: CommitVerdict | None, applied: int | None = 50, checkpoint: float | None = 10.0) -> GroupSnapshot:
    """Return a group of one partition."""
    return GroupSnapshot(
        GroupKind.CLASSIC,
        {ORDERS: COPY},
        2,
        {} if verdict is None else {ORDERS: verdict},
        {} if applied is None else {ORDERS: Committed(applied)},
        checkpoint,
    )


def sides(source: int | None = 50, target: int | None = 47, waits_for: str | None = None) -> Sides:
    """Return what was read of it."""
    there = SideView(
        {"g": Listed(GroupKind.CLASSIC, "Stable")}, {} if source is None else {"g": {ORDERS: Committed(source)}}
    )
    here = SideView({}, {} if target is None else {"g": {COPY: Committed(target)}})
    translated = TranslatedCommit(TranslationState.EXACT, (source or 0) - MARKERS)
    return Sides(there, here, {(ORDERS, source or 0): translated}, waits_for)


IN_STEP = CommitVerdict(GroupState.IN_STEP)


def test_in_step_means_what_the_source_says_now() -> None:
    """Not what it said when the last round was applied."""
    done = picture("f", "g", seen(IN_STEP), sides()).bare
    assert (done.state, done.reread_records, done.unmirrored) == (GroupState.IN_STEP, 0, 2)
    assert (done.source_state, done.target_state) == ("Stable", None)

    later = picture("f", "g", seen(IN_STEP), sides(60, waits_for="orders-1")).bare
    assert (later.state, later.reread_records, later.detail) == (GroupState.WAITING, 10, "orders-1")
    never = picture("f", "g", seen(None, None), sides(target=None)).bare
    assert (never.state, never.reread_records) == (GroupState.WAITING, None)


def test_what_only_another_daemon_may_write_waits_for_it() -> None:
    """A daemon without the claim shows the same picture of both sides."""
    held = picture("f", "g", seen(CommitVerdict(GroupState.IN_STEP, Committed(47))), sides(target=40)).bare

    assert (held.state, held.detail, held.reread_records) == (GroupState.WAITING, "another daemon writes it", 7)


def test_a_refusal_to_read_a_group_is_its_state() -> None:
    """Whatever its partitions are."""
    found = sides()
    found.there.refusals["g"] = GroupState.REFUSED, "no right"

    shown = picture("f", "g", seen(IN_STEP), found).bare
    assert (shown.state, shown.detail) == (GroupState.REFUSED, "no right")

    found = sides()
    found.here.refusals["g"] = GroupState.UNSUPPORTED, "too old"
    assert picture("f", "g", seen(IN_STEP), found).bare.state is GroupState.UNSUPPORTED


def test_the_age_is_that_of_the_commits_and_only_where_they_are_ours_to_keep() -> None:
    """A group that its members on the target own is not stale."""
    assert picture("f", "g", seen(IN_STEP), sides()).status(12.5).checkpoint_age_seconds == 2.5
    assert picture("f", "g", seen(IN_STEP, checkpoint=None), sides()).status(12.5).checkpoint_age_seconds is None
    active = CommitVerdict(GroupState.ACTIVE_ON_TARGET)
    assert picture("f", "g", seen(active), sides()).status(12.5).checkpoint_age_seconds is None


def test_an_outcome_is_exact_only_where_nothing_is_missing_or_unknown() -> None:
    """Neither cut, nor behind, nor without word of the source."""
    done = picture("f", "g", seen(IN_STEP), sides())
    assert outcome(done, 1, source_known=True).exact
    assert not outcome(done, 1, source_known=False).exact
    cut = picture("f", "g", seen(replace(IN_STEP, cut=4)), sides())
    assert not outcome(cut, 1, source_known=True).exact
    assert outcome(cut, 1, source_known=True).cut_records == 4
    assert not outcome(picture("f", "g", seen(IN_STEP), sides(60)), 0, source_known=True).exact


def test_offsets_of_share_groups_fit_share_groups_alone() -> None:
    """All other kinds commit alike."""
    share, plain = Listed(GroupKind.SHARE, "Empty"), Listed(GroupKind.CONSUMER, "Empty")
    assert other_kind(share, GroupKind.CLASSIC)
    assert other_kind(plain, GroupKind.SHARE)
    assert not other_kind(plain, GroupKind.CLASSIC)
    assert not other_kind(share, GroupKind.SHARE)
    assert not other_kind(None, GroupKind.SHARE)
