"""gRPC: the control service of a daemon and its client. The only package that imports grpc."""
