"""The machine's floor: what it costs here, now, to receive bytes, checksum them and send them on.

RELIABILITY.md section D. Nothing that relays bytes through user space and checks them can cost less, so a multiple
of it can be compared across machines and hours; CPU-seconds cannot.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection

from crc32c import crc32c

from benchmarks.measure import GIGABYTE, Cpu

DEFAULT_GIGABYTES = 2.0

_BUFFER_BYTES = 1 << 20
_WARM_UP_BYTES = 256 << 20
_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Floor:
    """CPU time of the relaying process per 10^9 bytes."""

    per_gigabyte: Cpu


def measure_floor(gigabytes: float = DEFAULT_GIGABYTES) -> Floor:
    """Relay that many GB over loopback, between a sender and a sink in processes of their own.

    Raises:
        TimeoutError: It took more than two minutes.
    """
    context = multiprocessing.get_context("spawn")
    answers, answer = context.Pipe(duplex=False)
    inlet = socket.create_server(("127.0.0.1", 0))
    outlet = socket.create_server(("127.0.0.1", 0))
    total = int(gigabytes * GIGABYTE) + _WARM_UP_BYTES
    processes = [
        context.Process(target=_sink, args=(outlet,), daemon=True),
        context.Process(target=_relay, args=(inlet, outlet.getsockname()[1], answer), daemon=True),
        context.Process(target=_send, args=(inlet.getsockname()[1], total), daemon=True),
    ]
    with inlet, outlet, answers:
        try:
            for process in processes:
                process.start()
            if not answers.poll(_TIMEOUT_SECONDS):
                raise TimeoutError(f"the relay of {gigabytes} GB did not end in {_TIMEOUT_SECONDS:.0f} s")
            floor: Floor = answers.recv()
        finally:
            for process in processes:
                process.kill()
                process.join()
    return floor


def _send(port: int, total: int) -> None:
    block = bytes(range(256)) * (_BUFFER_BYTES // 256)
    with socket.create_connection(("127.0.0.1", port)) as relay:
        for _ in range(total // len(block)):
            relay.sendall(block)


def _sink(server: socket.socket) -> None:
    buffer = bytearray(_BUFFER_BYTES)
    with server.accept()[0] as relay:
        while relay.recv_into(buffer):
            pass


def _relay(server: socket.socket, sink_port: int, answer: Connection) -> None:
    """Relay until the sender ends. The first part is left out: there the kernel's buffers are touched first."""
    with server.accept()[0] as source, socket.create_connection(("127.0.0.1", sink_port)) as sink:
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        warm_up = relayed = crc = 0
        before = Cpu()
        while received := source.recv_into(buffer):
            crc = crc32c(buffer[:received], crc)
            sink.sendall(buffer[:received])
            if warm_up < _WARM_UP_BYTES:
                warm_up += received
                before = _own_cpu()
            else:
                relayed += received
        cpu = _own_cpu() - before
    scale = GIGABYTE / relayed
    answer.send(Floor(Cpu(cpu.user * scale, cpu.system * scale)))


def _own_cpu() -> Cpu:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Cpu(usage.ru_utime, usage.ru_stime)


def main() -> None:
    """Print the floor a few times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=DEFAULT_GIGABYTES)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    for _ in range(arguments.runs):
        cpu = measure_floor(arguments.gigabytes).per_gigabyte
        print(f"{cpu.total:.3f} CPU-s/GB (user {cpu.user:.3f}, system {cpu.system:.3f})")


if __name__ == "__main__":
    main()
