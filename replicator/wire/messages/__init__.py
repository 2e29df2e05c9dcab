"""Kafka's requests and responses, one file per subject.

Imports `protocol`, `transport` and the cluster. Start with `control.py`, or with `data` for the requests that carry
records.
"""
