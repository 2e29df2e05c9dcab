"""To the target: batches, markers where the source has no record, and the first offset of an empty log.

Imports the room above only by its contracts (`context`, `ports`, `partition`). Begin with `writer.py`.
"""
