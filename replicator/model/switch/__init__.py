"""A switch of a flow to its other region, as values: what is ordered, recorded and shown (`core.switch` decides).

Imports `model` only. Begin with `terms.py` (verbs, steps, places), then `journal.py` (what is recorded of one switch)
and `status.py` (what an operator is shown).
"""
