"""How the copy of a partition finds its place: this room reads facts from both logs, and `core.copy.attach` decides.

Of the room above it imports the contracts (`context`, `ports`, `partition`) and what all parts share (`producer_state`,
`live_maps`, `waiting`), never the pump; of `engine` also `logs`, `state` and `work`. Start with `attacher.py`, then
`facts.py`.
"""
