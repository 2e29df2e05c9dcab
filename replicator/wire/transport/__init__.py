"""Connections: TCP, TLS, login, versions, what is unanswered, how fast new ones are opened.

Knows no cluster. Imports the frames and the decoding of the room above. Begin with `connection.py`.
"""
