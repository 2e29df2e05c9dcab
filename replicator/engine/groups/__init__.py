"""Follows consumer groups: reads them on the source, translates their offsets, commits them on the target.

Imports `copy` (what is copied), `offsets` (translation), `topics`, `state` and `logs`. Start with `sync.py` (rounds),
then `applying.py` (what is written).
"""
