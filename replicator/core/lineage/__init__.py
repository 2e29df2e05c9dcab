"""Which source a flow copies from, and how far the logs of several regions agree.

Values and decisions only; `engine.lineage` reads both clusters and changes the records. Imports nothing but `model` and
`errors`. Start with `sources.py`.
"""
