"""Requests that carry records, and those that begin and end transactions.

Imports `protocol`, `transport`, the frames and the cluster, and no other message. Start with `fetch.py` and
`produce.py`.
"""
