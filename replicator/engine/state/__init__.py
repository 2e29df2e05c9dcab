"""The topic `replicator.state` on each target: the facts that must be exact, and who may change them.

`topic` reads and writes it by compare-and-set; `records` is the only room that knows the keys; `ownership` says who
owns what; each file here is about one kind of record. Imports `logs`. Start with `records/keys.py`, then
`topic/log.py`.
"""
