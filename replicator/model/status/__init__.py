"""What a daemon shows, as values: snapshots of flows, states and their reasons, groups, events.

Imports only `model`. Start with `states.py`, then `snapshots.py`.
"""
