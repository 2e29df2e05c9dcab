"""Carries out the steps of a plan on a bench: each fault has a begin, and those that last have an end."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from chaos.bench import Bench
from chaos.clients import Ends, insist, wait_until
from chaos.daemon import FLOW, Daemon
from chaos.errors import ChaosError
from chaos.faults import Fault
from chaos.plan import Phase, Step
from chaos.toxics import Toxics
from replicator.devkit import Cluster

COMMAND_SECONDS_MAX = 90.0
"""Longest time until a command is carried out while other faults last."""

SETTINGS = {
    "segment.bytes": (2 << 20, 4 << 20, 16 << 20),
    "index.interval.bytes": (1024, 4096, 16384),
    "flush.messages": (1_000_000, 5_000_000),
}
"""What a change of settings picks from: settings that mirrors follow and that change no record."""

_T = TypeVar("_T")

_SPARE_BYTES = 128 << 10
_KINDS = {Fault.BLACK_HOLE: "timeout", Fault.RESET_PEER: "reset_peer", Fault.LIMIT_DATA: "limit_data"}


class Actions:
    """Does steps, and remembers what is still to be healed.

    Attributes:
        settings: Topic and setting to the value that was set last on the source.
        unplaced: Faults that could not be placed, each with the reason: the run goes on without them, and judges.
    """

    def __init__(self, bench: Bench, say: Callable[[str], None]) -> None:
        self.settings: dict[tuple[str, str], str] = {}
        self.unplaced: list[str] = []
        self._bench = bench
        self._say = say
        self._open: dict[int, tuple[Step, int]] = {}
        """Number of a use to its first step, and the node it harmed where it harmed one."""
        self._begins: dict[Fault, Callable[[Step], int]] = {
            Fault.DAEMON_KILL: self._kill_daemon,
            Fault.DAEMON_PAUSE: lambda step: self._signal_daemon(step, signal.SIGSTOP),
            Fault.DAEMON_TERM: self._stop_daemon,
            Fault.TARGET_KILL: self._kill_leader,
            Fault.TARGET_PAUSE: self._pause_target,
            Fault.SOURCE_KILL: self._kill_source,
            Fault.TARGET_DISK: self._fill_target,
            Fault.STATE_DISK: self._fill_state,
            Fault.GROW: self._grow,
            Fault.CONFIG: self._configure,
            Fault.FLOW_PAUSE: self._pause_flow,
            Fault.DELETE_RECORDS: self._delete_records,
        }
        self._ends: dict[Fault, Callable[[Step, int], None]] = {
            Fault.DAEMON_KILL: lambda step, _: self._daemon(step).start(),
            Fault.DAEMON_PAUSE: lambda step, _: self._daemon(step).child.signal(signal.SIGCONT),
            Fault.DAEMON_TERM: lambda step, _: self._daemon(step).start(),
            Fault.TARGET_KILL: lambda _, node: bench.target.start_broker(node),
            Fault.TARGET_PAUSE: lambda _, node: bench.target.resume_broker(node),
            Fault.SOURCE_KILL: lambda _, node: bench.source.start_broker(node),
            Fault.TARGET_DISK: self._clear_target,
            Fault.STATE_DISK: self._clear_state,
            Fault.FLOW_PAUSE: lambda step, _: self._command(step, "resume"),
        }

    def do(self, step: Step) -> bool:
        """Do one step; return whether it was done.

        A fault that cannot be placed is noted, and its end left out with it: whatever raises ChaosError at a begin does
        so before it harms anything. What cannot be healed ends the run.

        Raises:
            ChaosError: The bench, not the replicator, did not do what it should.
            DevkitError: The same, of a broker.
            KafkaException: The same, of a cluster that should answer.
        """
        if step.phase is Phase.BEGIN:
            self._say(f"{step.fault} begins: place {step.place} {dict(step.options) or ''}")
            self._open[step.number] = (step, 0)
            try:
                node = self._begins.get(step.fault, self._add_toxic)(step)
            except ChaosError as error:
                del self._open[step.number]
                self.unplaced.append(f"{step.fault} at place {step.place}: {error}")
                self._say(f"not placed: {self.unplaced[-1]}")
                return False
            self._open[step.number] = (step, node)
        elif step.number in self._open:
            first, node = self._open.pop(step.number)
            self._say(f"{step.fault} ends")
            self._ends.get(step.fault, self._remove_toxic)(first, node)
        return True

    # -- daemons ----------------------------------------------------------------------------------------------------

    def _daemon(self, step: Step) -> Daemon:
        return self._bench.daemons[step.place]

    def _kill_daemon(self, step: Step) -> int:
        daemon = self._daemon(step)
        daemon.kill()
        if step.options["wipe"]:
            daemon.wipe()
        return 0

    def _signal_daemon(self, step: Step, number: signal.Signals) -> int:
        self._daemon(step).child.signal(number)
        return 0

    def _stop_daemon(self, step: Step) -> int:
        daemon = self._daemon(step)
        status = daemon.stop()
        # Until it has loaded its code nobody handles the signal, and there is nothing to drain.
        was_loading = status == 128 + signal.SIGTERM and not daemon.child.has_logged()
        if status != 0 and not was_loading:
            self._bench.exits.append(f"{daemon.name} ended with {status} after SIGTERM, see {daemon.child.log}")
        return 0

    def _fill_state(self, step: Step) -> int:
        disk = self._daemon(step).disk
        if disk is None:
            raise ChaosError(f"{self._daemon(step).name} has no disk of its own")
        disk.fill(0)
        return 0

    def _clear_state(self, step: Step, _: int) -> None:
        disk = self._daemon(step).disk
        if disk is not None:
            disk.clear()

    # -- brokers ----------------------------------------------------------------------------------------------------

    def _kill_leader(self, step: Step) -> int:
        bench = self._bench
        bench.wait_in_sync(bench.target)
        topic = bench.topics[step.place].name
        node = self._insist(lambda: bench.target_admin.leader(topic, step.options["partition"]))
        bench.target.kill_broker(node)
        return node

    def _pause_target(self, step: Step) -> int:
        self._bench.wait_in_sync(self._bench.target)
        self._bench.target.pause_broker(step.place)
        return step.place

    def _kill_source(self, step: Step) -> int:
        self._bench.wait_in_sync(self._bench.source)
        self._bench.source.kill_broker(step.place)
        return step.place

    def _fill_target(self, step: Step) -> int:
        self._bench.wait_in_sync(self._bench.target)
        self._bench.disks[step.place].fill(_SPARE_BYTES)
        return step.place

    def _clear_target(self, _: Step, node: int) -> None:
        """Give it room and start it again: a broker whose only log directory failed ends, or is of no use."""
        target: Cluster = self._bench.target
        self._say(f"target broker {node} {'runs' if node in target.processes else 'has ended'} with a full disk")
        self._bench.disks[node].clear()
        target.kill_broker(node)
        target.start_broker(node)

    # -- links ------------------------------------------------------------------------------------------------------

    def _add_toxic(self, step: Step) -> int:
        attributes = {name: value for name, value in step.options.items() if name not in {"upstream", "node"}}
        for proxy in self._harmed(step):
            self._toxics.add(
                proxy,
                f"use-{step.number}",
                _KINDS.get(step.fault, str(step.fault)),
                upstream=bool(step.options["upstream"]),
                attributes=attributes,
            )
        return 0

    def _remove_toxic(self, step: Step, _: int) -> None:
        for proxy in self._harmed(step):
            self._toxics.remove(proxy, f"use-{step.number}")

    def _harmed(self, step: Step) -> list[str]:
        """Return the proxies of a link that a step means: one of them, or (one draw of several) all."""
        proxies = self._bench.proxies(step.place)
        choices = [*([name] for name in proxies), proxies]
        return choices[step.options["node"] % len(choices)]

    @property
    def _toxics(self) -> Toxics:
        if self._bench.toxics is None:
            raise ChaosError("there is no Toxiproxy in this run")
        return self._bench.toxics

    # -- topics and the flow ----------------------------------------------------------------------------------------

    def _insist(self, call: Callable[[], _T]) -> _T:
        """Ask a cluster while other faults last."""
        return insist("a cluster does what it is asked", call, COMMAND_SECONDS_MAX, "read the brokers' logs")

    def _grow(self, step: Step) -> int:
        admin, topic = self._bench.source_admin, self._bench.topics[step.place].name
        count = self._insist(lambda: admin.partition_count(topic)) + 1
        self._insist(lambda: admin.grow(topic, count))
        return 0

    def _configure(self, step: Step) -> int:
        topic = self._bench.topics[step.place].name
        name = list(SETTINGS)[step.options["setting"] % len(SETTINGS)]
        value = str(SETTINGS[name][step.options["value"] % len(SETTINGS[name])])
        self._insist(lambda: self._bench.source_admin.set_config(topic, name, value))
        self.settings[topic, name] = value
        return 0

    def _delete_records(self, step: Step) -> int:
        """Delete some of what the target holds for good: below its high watermark, which no healed fault moves back.

        A leader that was just elected may not know yet how far its log is replicated: it then refuses with
        OFFSET_OUT_OF_RANGE what its predecessor had shown to all, and the target has copied. So both ends are looked at
        again with each try, and told where it is refused to the end: a source that holds less than the target has lost
        something, and the verdict will say so.
        """
        bench, topic = self._bench, self._bench.topics[step.place].name

        def look() -> tuple[Ends, Ends, Ends]:
            # The source last: then it holds no less than the target did, if nothing is wrong.
            source, target = bench.source_admin, bench.target_admin
            return source.starts([topic]), target.ends([topic]), source.ends([topic])

        starts, ends, there = self._insist(look)
        choices = sorted(where for where in ends if where in starts and where in there)
        if not choices:
            self._say("delete-records: nothing answers, nothing is deleted")
            return 0
        where = choices[step.options["partition"] % len(choices)]
        below = starts[where] + (ends[where] - starts[where]) * step.options["percent"] // 100
        if below > starts[where]:
            try:
                self._insist(lambda: bench.source_admin.delete_below(topic, where[1], below))
            except ChaosError as error:
                starts, now, there_now = self._insist(look)
                before = f"target and source ended at {ends[where]} and {there[where]}"
                after = f"now at {now.get(where)} and {there_now.get(where)}; the source begins at {starts.get(where)}"
                why = f"{topic}[{where[1]}] below {below}: {before}, {after}; {error.why}"
                raise ChaosError(error.what, why=why, next_step=error.next_step) from None
            self._say(f"{topic}[{where[1]}] begins at {below} on the source, the target ends at {ends[where]}")
        return 0

    def _pause_flow(self, step: Step) -> int:
        self._command(step, "pause")
        return 0

    def _command(self, step: Step, word: str) -> None:
        daemon = self._bench.daemons[step.options["daemon"] % len(self._bench.daemons)]
        said = [""]

        def accepted() -> bool:
            try:
                done = daemon.command("flow", word, FLOW)
            except subprocess.TimeoutExpired:
                said[0] = "no answer"
                return False
            if done.returncode:
                said[0] = done.stderr.strip()
            return done.returncode == 0

        begun = time.monotonic()
        try:
            wait_until(f"flow {word}", accepted, COMMAND_SECONDS_MAX, f"read {daemon.child.log}")
        except ChaosError as error:
            raise ChaosError(error.what, why=said[0], next_step=error.next_step) from None
        refused = f"; refused at first: {said[0]}" if said[0] else ""
        self._say(f"flow {word} took {time.monotonic() - begun:.1f} s{refused}")


def wait_settings(bench: Bench, settings: dict[tuple[str, str], str], seconds_max: float) -> None:
    """Wait until the target's topics have the settings that were changed on the source.

    Raises:
        ChaosError: One has not.
    """
    for (topic, name), value in settings.items():

        def same(topic: str = topic, name: str = name, value: str = value) -> bool:
            return bench.target_admin.config(topic, name) == value

        wait_until(f"{topic} has {name}={value} on the target", same, seconds_max, "read the daemons' logs")
