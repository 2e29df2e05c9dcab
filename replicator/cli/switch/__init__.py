"""`replicator switchover`, `failover`, `failback` and `switch`: the plan, the order, and following it.

Imports `flows`, `remote` and `printing` of `cli`, and `rpc.client`. Start with `orders.py` (what is ordered), then
`follow.py` (a switch to its end) and `switch.py` (one that runs, or is over); `views.py` is how they look.
"""
