"""What one process keeps on its own disk: events, a cache that may be lost; leases, where it coordinates.

Imports `aio`, `model`, `files` and `errors`. Start with the two ports, `event_store.py` and `lease_store.py`; the other
files keep their promises in memory, in SQLite, or in a thread of their own (`tests/contract` holds each to them).
"""
