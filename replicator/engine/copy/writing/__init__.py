"""Writing to the target: batches, markers where the source has no record, and the start offset of an empty log.

Imports only the contracts of the room above (`context`, `ports`, `partition`). Start with `writer.py`.
"""
