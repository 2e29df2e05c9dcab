"""Kafka's requests and responses, one file per subject.

Imports `transport` and the cluster. Start with `fetch.py` and `produce.py`, which carry the data, or with `control.py`.
"""
