"""Consumer groups follow: read on the source, translated, committed on the target.

Imports `copy` (where partitions stand), `state` and `logs`. Begin with `sync.py` (rounds), then
`applying.py` (what is written).
"""
