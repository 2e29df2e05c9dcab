"""The gRPC server of a daemon: its services, and which calls are let in.

Imports `client` (a coordinator passes calls on) and `convert`, and `control`, which decides about each call. Start with
`server.py`, then follow a call through `admission.py` (a place for it), `callers.py` (who calls), `control_server.py`
and `crossing.py` (an error becomes its response).
"""
