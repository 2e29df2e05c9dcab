"""Kafka as bytes: connections, authentication, batches, fetch, produce, control messages.

Only this package opens sockets to brokers.
"""
