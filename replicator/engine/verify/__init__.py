"""Compares source and target: once, continuously, or by digests (`digests`).

Imports `state` and `logs`; `continuous.py` also looks at the partitions of `copy`. Start with `compare.py`.
"""
