"""Reads a log from one place to another: for comparisons, and to find a position by walking two logs.

Imports the room above, which does not know this one. Start with `walking.py`, or with `partition_reader.py` for
comparisons, which block a thread of their own.
"""
