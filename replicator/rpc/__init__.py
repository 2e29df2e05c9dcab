"""gRPC: the services of a daemon and their clients. The only package that imports grpc.

Its servicers translate messages to values and back; decisions about a call are made in `control`.
"""
