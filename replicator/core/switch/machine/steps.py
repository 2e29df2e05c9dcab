"""What the switch machine asks for: one value per step; `results` has the possible results.

Steps are idempotent: whoever did one last may have died before recording it, and a frozen executor may do it again,
late. What must hold for each:

- An `ON_STATE` step changes only `replicator.state`. Its effect and the journal's record of it are one
  compare-and-set, so nobody with an outdated journal ever does it.
- Any other step is recorded after it was done. An executor that finds the journal changed by then reads it again, and
  does what `next_step` says: for a switch that has ended, that is to remove the locks it may have just put back.
"""

from __future__ import annotations

from dataclasses import dataclass

from replicator.model.switch.terms import Cut, End, Outcome, Restoration, Scope, StepName


@dataclass(frozen=True, slots=True)
class Preflight:
    """Check whether the switch can be carried out; nothing is changed. Result: Ok or Refused."""


@dataclass(frozen=True, slots=True)
class PlanLocks:
    """Work out what keeps writers off the source topics; nothing is changed yet. Result: LocksPlanned.

    `ours` are locks that we may have placed before: those of them in place are ours, any other is someone else's and
    must not be part of the plan.
    """

    scope: Scope
    ours: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlaceLocks:
    """Place those that are not in place, and see a write refused. Result: Ok."""

    locks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProveQuiescence:
    """Ends fetched after the locks were in place, stable for a while, no transaction open.

    Result: Quiescent, NotYet or, if topics in scope are gone, SourceMoved.
    """

    scope: Scope


@dataclass(frozen=True, slots=True)
class Drain:
    """Wait until the target holds everything below those ends. Result: Drained, NotYet or SourceMoved."""

    ends: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class SyncGroups:
    """Sync all groups once more, then read the source's ends again. Result: GroupsSynced or SourceMoved."""

    ends: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class OfferWayBack:
    """Write this journal to the source's state topic, undecided, if none of this id is there. Result: Decided."""


@dataclass(frozen=True, slots=True)
class BeginFence:
    """ON_STATE: the writer's role becomes FENCING. Result: FenceBegun or SourceMoved.

    `epoch` is this switch's, if it already has one; else it becomes one above every epoch that the producer id ever
    had, for the flow and for any of its mirrors. If `ends` are given, a mirror or partition in scope without an end
    was found in the meantime: the source has moved.
    """

    scope: Scope
    epoch: int | None = None
    ends: tuple[End, ...] = ()


@dataclass(frozen=True, slots=True)
class Fence:
    """Append a marker to every partition in scope that does not show the epoch. Result: Ok."""

    epoch: int
    scope: Scope


@dataclass(frozen=True, slots=True)
class VerifyFence:
    """See the epoch on *every* partition now in scope. Result: FenceVerified or NotYet."""

    epoch: int
    scope: Scope


@dataclass(frozen=True, slots=True)
class Promote:
    """ON_STATE: the role becomes PROMOTED. Result: Ok."""

    epoch: int
    scope: Scope


@dataclass(frozen=True, slots=True)
class ClampGroups:
    """Move every group on the target back to what was replicated. Result: GroupsSynced."""

    cuts: tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class RecordCut:
    """ON_STATE: one cut record for each topic. Result: Ok."""

    epoch: int
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class GiveUpWayBack:
    """Compare and set on the source: undecided becomes forward. Result: Decided, with what is there now."""


@dataclass(frozen=True, slots=True)
class OpenTarget:
    """Set what was held back, remove the locks of the passive side. Result: Ok."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class PrepareReverse:
    """Give the old source's topics the settings of mirrors. Result: Ok."""

    flow: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class StartReverse:
    """Let the other flow copy; its passive side owns the locks from now on. Result: Ok.

    It may have been the active one before: its role becomes COPYING at the epoch it was fenced with.
    """

    flow: str
    scope: Scope
    locks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WithdrawWayBack:
    """Compare and set on the source: undecided, or nothing yet, becomes withdrawn. Result: Decided."""


@dataclass(frozen=True, slots=True)
class ReopenSource:
    """Remove exactly these locks if they are in place. Result: Ok."""

    locks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MarkSource:
    """Append one marker to each source partition that still ends where it was proven quiet. Result: Ok.

    The target has a marker there: with one on the source, too, offsets stay the same on both sides.
    """

    ends: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class ResumeCopying:
    """ON_STATE: the role becomes COPYING, at the fence's epoch. Result: Ok."""

    epoch: int
    scope: Scope


@dataclass(frozen=True, slots=True)
class FindTails:
    """Compare the old source's ends with the recorded cuts. Result: TailsFound."""

    ends: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class ExportTails:
    """Copy each tail to `<topic>.divergent.<epoch>` on the new primary, and read it back. Result: Ok."""

    tails: tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class Confirm:
    """Wait for an operator to agree to what happens to topics with a tail. Result: NotYet; `confirmed` orders."""

    digest: str


@dataclass(frozen=True, slots=True)
class RestoreTopics:
    """Turn the old source's topics into mirrors, and start the other flow; it owns the locks from now on. Result: Ok.

    A topic is deleted by its id, which the restoration names.
    """

    flow: str
    topics: tuple[Restoration, ...]
    locks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Wait until the other flow has copied what there is. Result: Ok or NotYet."""

    flow: str


@dataclass(frozen=True, slots=True)
class SwitchBack:
    """Order a switchover of the other flow, under this id, with this flow as its reverse. Result: Ok."""

    flow: str
    order_id: str


@dataclass(frozen=True, slots=True)
class Abort:
    """ON_STATE: nothing but the journal changes: from now on it undoes what was done. Result: Ok."""

    why: str


@dataclass(frozen=True, slots=True)
class TurnBack:
    """ON_STATE: nothing but the journal changes: the source is being opened, this side follows. Result: Ok."""


@dataclass(frozen=True, slots=True)
class MeasureTails:
    """The old source is back after a failover: read its ends. Result: TailsFound."""

    cuts: tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to do, or nothing more."""

    outcome: Outcome


Step = (
    Preflight
    | PlanLocks
    | PlaceLocks
    | ProveQuiescence
    | Drain
    | SyncGroups
    | OfferWayBack
    | BeginFence
    | Fence
    | VerifyFence
    | Promote
    | ClampGroups
    | RecordCut
    | GiveUpWayBack
    | OpenTarget
    | PrepareReverse
    | StartReverse
    | WithdrawWayBack
    | ReopenSource
    | MarkSource
    | ResumeCopying
    | FindTails
    | ExportTails
    | Confirm
    | RestoreTopics
    | CatchUp
    | SwitchBack
    | Abort
    | TurnBack
    | MeasureTails
    | Nothing
)

NAMES: dict[type[Step], StepName] = {
    Preflight: StepName.PREFLIGHT,
    PlanLocks: StepName.PLAN_LOCKS,
    PlaceLocks: StepName.PLACE_LOCKS,
    ProveQuiescence: StepName.PROVE_QUIESCENCE,
    Drain: StepName.DRAIN,
    SyncGroups: StepName.SYNC_GROUPS,
    OfferWayBack: StepName.OFFER_WAY_BACK,
    BeginFence: StepName.BEGIN_FENCE,
    Fence: StepName.FENCE,
    VerifyFence: StepName.VERIFY_FENCE,
    Promote: StepName.PROMOTE,
    ClampGroups: StepName.CLAMP_GROUPS,
    RecordCut: StepName.RECORD_CUT,
    GiveUpWayBack: StepName.GIVE_UP_WAY_BACK,
    OpenTarget: StepName.OPEN_TARGET,
    PrepareReverse: StepName.PREPARE_REVERSE,
    StartReverse: StepName.START_REVERSE,
    WithdrawWayBack: StepName.WITHDRAW_WAY_BACK,
    ReopenSource: StepName.REOPEN_SOURCE,
    MarkSource: StepName.MARK_SOURCE,
    ResumeCopying: StepName.RESUME_COPYING,
    FindTails: StepName.FIND_TAILS,
    ExportTails: StepName.EXPORT_TAILS,
    Confirm: StepName.CONFIRM,
    RestoreTopics: StepName.RESTORE_TOPICS,
    CatchUp: StepName.CATCH_UP,
    SwitchBack: StepName.SWITCH_BACK,
    Abort: StepName.ABORT,
    TurnBack: StepName.TURN_BACK,
    MeasureTails: StepName.MEASURE_TAILS,
}
ON_STATE = frozenset(
    {
        StepName.BEGIN_FENCE,
        StepName.PROMOTE,
        StepName.RECORD_CUT,
        StepName.RESUME_COPYING,
        StepName.ABORT,
        StepName.TURN_BACK,
    }
)
"""Effect and record are one transaction on the state topic."""
