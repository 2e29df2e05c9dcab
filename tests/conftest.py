"""What holds for every test."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A suite that was started in a shell's background inherits that SIGINT is ignored, and so would all that it starts:
    # what has to end by Ctrl-C never would. A handler of Python's is no handler any more behind an exec.
    signal.signal(signal.SIGINT, signal.default_int_handler)
