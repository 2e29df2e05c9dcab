"""The parts of a flow that is up in one daemon, and how they are put together.

Imports every other room of `engine`, and nothing of `flow`. Start with `assemble.py`; `inputs.py` is what it starts
from, `run_state.py` what is known while the flow runs, and `reconcile.py` lets partitions begin and stop with their
mirror.
"""
