"""Logs and metrics: how a running daemon is seen."""
