"""Reads Kafka logs at one place or along a range, over our own wire.

Nothing in here knows a flow or `replicator.state`: a caller names a cluster, a partition and an offset. Imports `core`,
`wire`, `admin` and `model`. Start with `reading.py` (one read of a log); `opening.py` decompresses within a bound, off
the event loop; `ranges` reads on from there.
"""
