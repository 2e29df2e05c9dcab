"""The topic `replicator.state` on each target: the facts that must be exact, and who may change them.

`log.py` reads and writes the topic by compare-and-set; `records` is the only room that knows the keys; `ownership` says
what is whose; the other files are one kind of record each. Imports `logs`. Begin with `records/keys.py`, then `log.py`.
"""
