"""Changes which side of a flow is open: switchover, failover, failback.

`keeper.py` runs the loop, `executor.py` has one step carried out (`steps`) and records it; `core.switch` decides the
steps. Imports every room below. Start with `executor.py`; `repairs` mends what an earlier version left.
"""
