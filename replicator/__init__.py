"""Exactly-once, offset-identical replication between Apache Kafka clusters."""

__version__ = "0.1.0"
