"""Who may do what: on Kafka's authorizers, and in the daemon itself. Start with `rights.py` and `access.py`."""
