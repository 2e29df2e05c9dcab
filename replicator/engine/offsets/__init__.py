"""Translates offsets between both sides, and resolves faults.

Imports `topics`, `copy`, `state` and `logs`. Start with `translate.py` for questions and `resolve.py` for faults.
"""
