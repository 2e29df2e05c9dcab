"""What runs beside the copying of a flow, again and again: topics, records, watches.

Imports `assembly`. Start with `background.py` (work of each shard) and `topic_loop.py` (work of the flow).
"""
