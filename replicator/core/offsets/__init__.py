"""Which offset of one log corresponds to which of the other, and ways out of a fault.

Imports `model` only. Start with `offset_map.py`; what an operator may do about a fault is in `resolution.py`.
"""
