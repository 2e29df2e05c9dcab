"""Comparing records and digests, and how far a comparison got.

Imports `core.status` and `model`. Start with `record_diff.py`.
"""
