"""Changes which side of a flow is open: switchover, failover, failback.

`keeper.py` runs the loop, `executor.py` does one step and records it; `core.switch` decides the steps. Imports every
room below. Start with `executor.py`.
"""
