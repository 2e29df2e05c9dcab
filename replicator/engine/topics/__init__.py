"""Target topics and access rules: created, grown, configured, proven ours, and noticed when they disappear.

Imports `work`, `state` and `logs`, and nothing of `copy`. Start with `sync.py` (one pass over a flow's topics), then
follow a topic: `facts.py`, `proof.py`, `one_topic.py`, `mirror_records.py`.
"""
