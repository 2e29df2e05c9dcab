"""Kafka as bytes: connections, authentication, batches, fetch, produce, control messages.

Only this package opens sockets to brokers. This room has the reading of fields (`cursor`, `decode`), error codes,
frames, metadata, and `Cluster`, which knows who leads what. Start with `cluster.py`.
"""
