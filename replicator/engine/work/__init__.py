"""Which daemon works on which shard: leases, claims, signs of life, and the fence.

A coordinator proposes by lease; what stands on the state topic decides. Imports `state` and `logs`. Begin with
`shards.py`.
"""
