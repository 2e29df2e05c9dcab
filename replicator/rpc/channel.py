"""The channel of a client."""

from __future__ import annotations

import grpc

from replicator.rpc.endpoint import OPTIONS, Endpoint


def channel(endpoint: Endpoint) -> grpc.Channel:
    """Return a channel to an endpoint; nothing is sent before the first call."""
    target, credentials = endpoint.dialled()
    if credentials is None:
        return grpc.insecure_channel(target, options=OPTIONS)
    return grpc.secure_channel(target, credentials, options=OPTIONS)
