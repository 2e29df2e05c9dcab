"""Writing to the target: batches, markers where the source has no record, and the start offset of an empty log.

Of the room above it imports the contracts (`context`, `ports`) and `partitions`, never the pump; of `engine` also
`logs`, `state` and `work`. Start with `writer.py`.
"""
