"""Logs, metrics and the audit log of a running daemon."""
