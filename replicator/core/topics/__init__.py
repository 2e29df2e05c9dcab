"""Which topics a flow means, how their mirrors look, and what is ours to change. Begin with `plan.py`."""
