"""Who may do what: on Kafka's authorizers, and in the daemon itself.

Imports `core.topics` and `model`. Start with `rights.py` (the least that a flow needs on its clusters) and
`granting.py` (what a rule of the flow file lets a caller do).
"""
