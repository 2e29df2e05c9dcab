"""How a flow changes hands: the machine, its steps and results, orders and plans. Start with `machine.py`."""
