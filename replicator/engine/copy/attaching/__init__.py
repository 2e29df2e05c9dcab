"""How the copy of a partition finds its place: facts of both logs are read, and `core.copy.attach` decides.

Imports the room above only by its contracts (`context`, `ports`, `partition`). Begin with `attacher.py`, then
`facts.py`.
"""
