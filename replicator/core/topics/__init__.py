"""Which topics a flow selects, what their mirrors look like, and what is ours to change.

Imports `core.groups` and `model`. Start with `plan.py` (what a target topic lacks); `selection.py` says which names are
selected, `ownership.py` what proves that a topic is ours.
"""
