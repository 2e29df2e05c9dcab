"""One flow in one daemon: how it is put together, run, watched and ended.

Imports every other room. Begin with `runner.py`; `assembly.py` builds the parts.
"""
