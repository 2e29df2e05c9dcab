"""What the copy holds of its partitions: state, offset maps, producer state, the route of fills.

Imports `core.copy`, `work`, `state` and `logs`, and nothing of the rooms beside it. Start with `partition.py`, which
only `copy` may import and change; `view.py` is what everybody else sees of it.
"""
