"""Which offset of one log stands for which of the other, and ways out of a fault.

Imports `model` only. Begin with `offset_map.py`; what an operator may do about a fault is in `resolution.py`.
"""
