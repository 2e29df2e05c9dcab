"""Reading from the source: what is requested, what responses hold, and how that is made ready for the target.

Of the room above it imports the contracts (`context`, `ports`) and `partitions`, never the pump; of `engine` also
`logs`, `state` and `work`. Start with `reader.py`, then `taking.py`.
"""
