"""What is decided about each call to a daemon, whichever face it came through: gRPC now, a web console later.

Who may do it, whether it is his turn, whether the facts are still those he saw, and the audit log. It knows no face:
it imports no grpc and no protobuf, only `core`, `model` and `errors`. Begin with `audited_control.py` (orders)
and `questions.py` (what is only read); `port.py` is what both ask of a daemon.
"""
