"""Who the flow is, and who owns what: clusters, target topics, records in a log, markers on a target.

Imports `records` and `topic` of `state`, and `logs`. Start with `identity.py` (who the flow is on its target), then
`ours.py` (is a topic of the target ours?).
"""
