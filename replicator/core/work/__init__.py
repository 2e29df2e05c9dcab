"""Who works on what: leases, claims, shards. Start with `lease.py`."""
