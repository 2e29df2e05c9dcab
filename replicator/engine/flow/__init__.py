"""One flow in one daemon: how it is put together, run, watched and ended.

Imports every other room. Start with `runner.py`; `assembly.py` builds the assembly.
"""
