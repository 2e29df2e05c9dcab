"""Who may do what: on Kafka's authorizers, and in the daemon itself. Begin with `rights.py` and `granting.py`."""
