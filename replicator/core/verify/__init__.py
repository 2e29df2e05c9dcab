"""Comparing records and digests, and how far a comparison got. Start with `record_diff.py`."""
