"""Who works on what: leases, claims, shards. Begin with `lease.py`."""
