"""How a flow changes hands: the machine, its steps and results, orders and plans.

Imports `core.copy` and `model`. Start with `machine.py` (which step is next), then `steps.py` and `results.py` (what is
asked of whoever carries it out, and answered), `recording.py` (how the journal notes it), `orders.py`.
"""
