"""The topic `replicator.state` itself: read to its end, indexed, changed by compare-and-set.

Imports `logs`, and nothing of `state`: which records there are is not known here. Start with `log.py`, then `view.py`
(what has been read) and `chunks.py` (values of any size); `source.py` reads the topic of the source cluster.
"""
