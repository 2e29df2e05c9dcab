"""Offsets of one side in terms of the other, and ways out of a fault.

Imports `topics`, `copy`, `state` and `logs`. Begin with `translate.py` for questions, with `resolve.py` for faults.
"""
