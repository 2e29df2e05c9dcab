"""Kafka's requests and answers, one file for what belongs together.

Imports `transport` and the cluster. Begin with `fetch.py` and `produce.py`, which carry the data, or with `control.py`.
"""
