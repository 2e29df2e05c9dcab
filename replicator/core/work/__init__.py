"""Who works on what: leases, claims, shards.

Imports `model` only. Start with `lease.py` (what a coordinator grants), then `claim.py` (what the state topic says).
"""
