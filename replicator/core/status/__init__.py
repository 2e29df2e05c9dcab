"""What is shown of a flow: lag, health, progress, which brokers answer.

Imports `model` only. Start with `health.py`; `whole_flow.py` merges the pictures of several daemons into one.
"""
