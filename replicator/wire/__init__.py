"""Kafka as bytes: connections, authentication, batches, fetch, produce, control messages.

Only this package opens sockets to brokers. This room has frames, metadata, and `Cluster`, which knows who leads what;
below it are `protocol` (how fields and errors are written), `transport` and `batches`, above it `messages`. Imports
`core`, `model` and `errors`. Start with `cluster.py`.
"""
