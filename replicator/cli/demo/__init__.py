"""`replicator demo`: two clusters, a flow, two faults, and proof that nothing was lost.

Imports `printing` of `cli`, and whatever the demo shows. Start with `story.py`, the demo step by step; `stage.py` is
what it runs on, `view.py` what it prints.
"""
