"""How a flow changes hands: the machine, orders and plans.

Imports `core.copy` and `model`. Start with `machine` (which step is next), then `orders.py` and `running.py` (what may
be ordered when), `plan.py` (a switch in words) and `readiness.py` (could it be switched now).
"""
