"""How the copy of a partition finds its place: this room reads facts from both logs, and `core.copy.attach` decides.

Imports only the contracts of the room above (`context`, `ports`, `partition`). Start with `attacher.py`, then
`facts.py`.
"""
