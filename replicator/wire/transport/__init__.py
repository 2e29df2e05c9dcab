"""Connections: TCP, TLS, login, versions, unanswered requests, how fast new ones are opened.

Knows no cluster. Imports the frames of the room above, and `protocol`. Start with `connection.py`.
"""
