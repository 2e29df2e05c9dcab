"""Which topics a flow means, how their mirrors look, and what is ours to change.

Imports `core.groups` and `model`. Begin with `plan.py` (what a target topic lacks); `selection.py` says which names are
meant, `ownership.py` what proves that a topic is ours.
"""
