"""Moves a flow to another source, and compares the logs of regions that hold the same lineage.

What it decides is in `core.lineage`. May import `work`, `state` and `logs`. Start with `move.py`.
"""
