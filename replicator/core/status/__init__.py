"""What is shown of a flow: lag, health, progress, which brokers answer. Begin with `health.py`."""
