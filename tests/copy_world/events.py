"""What may happen in a world, with the usual weight of each event; the events stand in the modules beside this one."""

from __future__ import annotations

from operator import methodcaller
from typing import TYPE_CHECKING

from replicator.model.spec import Offsets
from tests.copy_world.daemon_events import (
    advance,
    attach,
    break_source,
    break_target,
    carry,
    deliver,
    drop_zombie,
    fetch,
    forget_sessions,
    hear,
    kill,
    lose_connection,
    notice_leader,
    record,
    serve,
    start,
    take,
    take_up,
    work,
)
from tests.copy_world.log_events import (
    append_by_a_flow,
    append_fresh,
    append_odd,
    append_old,
    append_too_large,
    bump_source_epoch,
    change_leader,
    commit,
    delete_records,
    deny_fills,
    expire,
    ghost,
    lie,
    recreate,
    retain,
    retain_copied,
    retain_target,
    truncate,
    write_alien,
    write_beside,
)
from tests.copy_world.operator_events import (
    accept,
    break_state,
    give_up,
    persist,
)
from tests.copy_world.steps import chosen

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.copy_world.steps import Pick
    from tests.copy_world.world import World


def _each(name: str) -> Callable[[World, Pick], None]:
    act = methodcaller(name)

    def event(world: World, pick: Pick) -> None:
        daemon = chosen(world, pick)
        if daemon is not None and daemon.is_up:
            act(daemon)
            world.settle()

    return event


EVENTS: dict[str, tuple[int, Callable[[World, Pick], None]]] = {
    "append_fresh": (10, append_fresh),
    "append_old": (6, append_old),
    "append_odd": (6, append_odd),
    "append_too_large": (1, append_too_large),
    "bump_source_epoch": (1, bump_source_epoch),
    "retain": (1, retain),
    "truncate": (1, truncate),
    "recreate": (1, recreate),
    "deliver": (22, deliver),
    "drop_zombie": (1, drop_zombie),
    "commit": (14, commit),
    "change_leader": (2, change_leader),
    "expire": (6, expire),
    "write_alien": (1, write_alien),
    "write_beside": (0, write_beside),
    "append_by_a_flow": (0, append_by_a_flow),
    "start": (3, start),
    "kill": (1, kill),
    "step_claim": (6, _each("step_claim")),
    "attach": (24, attach),
    "carry": (4, carry),
    "fetch": (12, fetch),
    "take": (12, take),
    "hear": (14, hear),
    "work": (24, work),
    "serve": (10, serve),
    "lose_connection": (3, lose_connection),
    "notice_leader": (2, notice_leader),
    "pause": (1, _each("pause")),
    "unpause": (3, _each("unpause")),
    "record": (1, record),
    "advance": (8, advance),
    "give_up": (0, give_up),
    "accept": (0, accept),
    "ghost": (0, ghost),
    "deny_fills": (0, deny_fills),
    "delete_records": (0, delete_records),
    "retain_target": (0, retain_target),
    "retain_copied": (0, retain_copied),
    "persist": (0, persist),
    "break_state": (0, break_state),
    "lie": (0, lie),
    "hand_over": (1, _each("hand_over")),
    "take_up": (4, take_up),
    "starve": (1, _each("starve")),
    "break_source": (1, break_source),
    "break_target": (1, break_target),
    "forget_sessions": (1, forget_sessions),
    "succeed": (1, _each("succeed")),
}
"""Every event, with its usual weight."""

MORE: dict[Offsets, dict[str, int]] = {
    Offsets.IDENTICAL: {},
    Offsets.AUTO: {"ghost": 3, "deny_fills": 1, "persist": 5, "break_state": 1},
    Offsets.MAPPED: {
        "accept": 4,
        "ghost": 1,
        "retain_target": 3,
        "retain_copied": 0,
        "delete_records": 1,
        "persist": 8,
        "break_state": 1,
    },
}
"""Weights of what can only happen, or do harm, where offsets may differ."""
RARE = ("append_too_large", "retain", "truncate", "recreate", "write_alien")
"""Events that end a copy, or most of them: only some histories have them."""
MORE_EVENTS = sorted({name for weights in MORE.values() for name in weights})
USUAL = sorted(set(EVENTS) - set(MORE_EVENTS) - set(RARE) - {"lie"})
