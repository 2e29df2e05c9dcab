"""What holds for every test."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

from tests.clusters import (
    clusters_dir,
    east,
    lab,
    make_cluster,
    make_module_cluster,
    make_session_cluster,
    pair,
    topic_name,
    west,
)

__all__ = [
    "clusters_dir",
    "east",
    "lab",
    "make_cluster",
    "make_module_cluster",
    "make_session_cluster",
    "pair",
    "topic_name",
    "west",
]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A suite that was started in a shell's background inherits that SIGINT is ignored, and so would all that it starts:
    # what has to end by Ctrl-C never would. A handler of Python's is no handler any more behind an exec.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test fails because the machine is slow: neither an example that took long, nor few examples in a second.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
