"""Connections: TCP, TLS, login, versions, unanswered requests, how fast new ones are opened.

Knows no cluster. Imports the frames and the decoding of the room above. Start with `connection.py`.
"""
