"""Kafka's protocol below the messages: fields, versions, error codes, and the limits of what a broker may claim.

Imports `core`, `model` and `errors`, and nothing of `wire`. Start with `decode.py` (typed responses from untrusted
bytes), then `faults.py` (error codes as errors of ours).
"""
