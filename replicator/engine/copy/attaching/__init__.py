"""How the copy of a partition finds its place: facts of both logs are read, `core.copy.attaching` decides.

Of the room above it imports the contracts (`context`, `ports`) and `partitions`, never the pump; of `engine` also
`logs`, `state` and `work`. Start with `attacher.py`, then `facts.py`.
"""
