"""Decisions about each call to a daemon, whichever face it came through: gRPC now, a web console later.

Whether the caller may do it, whose turn it is, whether the facts are still those the caller saw, and the audit log. It
knows no face: it imports no grpc and no protobuf, only `core`, `model` and `errors`. Begin with `audited_control.py`
(orders) and `questions.py` (reads); `port.py` is what both need from a daemon.
"""
