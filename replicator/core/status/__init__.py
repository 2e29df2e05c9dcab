"""What is shown of a flow: lag, health, progress, which brokers answer.

Imports `model` only. Begin with `health.py`; one picture from several daemons is made in `whole_flow.py`.
"""
