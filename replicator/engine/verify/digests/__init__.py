"""Compares source and target by digests of offset ranges, so that no record crosses a slow line.

Imports the room above, which does not know this one. Start with `digest.py`; `file.py` is what one side sends to the
other.
"""
