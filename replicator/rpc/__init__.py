"""gRPC: the services of a daemon and their clients. The only package that imports grpc.

Imports `control`, `core`, `model` and `files`; what is decided about a call is in `control`. `server` and `client` are
the two ends, `convert` turns messages into values and back; `v1` and `etcd_pb` are generated. Start with
`server/server.py` and `server/control_server.py`, or at the other end with `client/control_client.py`.
"""
