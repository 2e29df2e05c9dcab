"""gRPC: the services of a daemon and their clients. The only package that imports grpc.

Its servicers translate messages to values and back; what is decided about a call is in `control`. Imports `control`,
`core`, `model` and `files`. Begin with `server.py` and `control_server.py`, or on the other side with `client.py`.
"""
