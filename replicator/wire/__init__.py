"""Kafka as bytes: connections, authentication, batches, fetch, produce, control messages.

Only this package opens sockets to brokers. Here: reading fields (`cursor`, `decode`), error codes, frames, metadata,
and `Cluster`, which knows who leads what. Begin with `cluster.py`.
"""
