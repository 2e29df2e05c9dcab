"""Repairs what an earlier version of the replicator broke, when a flow starts.

Imports `context`, `places` and `takeover` of the room above. One file per mistake; start with `high_cuts.py`.
"""
