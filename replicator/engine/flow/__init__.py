"""One flow in one daemon: how it is put together, run, watched and ended.

Imports every other room. Start with `runner.py` (its life); `assembly` builds the parts, `background` is what runs
beside the copying, `operations.py` answers an operator.
"""
