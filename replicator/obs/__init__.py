"""How a running daemon is seen: its logs, its metrics, and the audit log of what operators ordered.

Imports `model`, `core`, `files` and `errors`. Start with `logs.py` (how to log) and `metrics.py` (one typed table of
every metric); `audit.py` writes the audit log, whose hash chain is `core.acl.audit_chain`.
"""
