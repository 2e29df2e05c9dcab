"""Changes which side of a flow is open: switchover, failover, failback.

`keeper.py` runs the loop, `executor.py` does one step and records it; the steps are decided by `core.switch`. Imports
every room below. Begin with `executor.py`.
"""
