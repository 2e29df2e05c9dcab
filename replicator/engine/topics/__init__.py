"""Target topics and access rules: created, grown, configured, proven ours, and noticed when they go.

Imports `work`, `state` and `logs`, and of `copy` nothing. Begin with `sync.py` (one pass over a flow's
topics), then follow one of them: `facts.py`, `proof.py`, `one_topic.py`, `mirror_records.py`.
"""
