"""Comparing records and digests, and how far a comparison came. Begin with `record_diff.py`."""
