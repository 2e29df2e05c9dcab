"""A switch of a flow to its other region, as values: what is ordered, recorded and shown (`core.switch` decides).

Imports only `model`. Start with `terms.py` (verbs, steps, cuts), then `journal.py` (what is recorded about one switch)
and `status.py` (what an operator sees).
"""
