"""Which daemon works on which shard: leases, claims, signs of life, and the fence.

A coordinator proposes by lease; the state topic decides. Imports `state` and `logs`. Start with
`shards.py`.
"""
