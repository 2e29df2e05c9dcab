"""Comparing records and digests, and how far a comparison came.

Imports `core.status` and `model`. Begin with `record_diff.py`.
"""
