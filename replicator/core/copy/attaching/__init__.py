"""Whether a partition may be copied, and where it continues.

Imports `core.offsets` and `model`. Start with `facts.py` (what an attach knows and may decide), then `attach.py`, which
decides.
"""
