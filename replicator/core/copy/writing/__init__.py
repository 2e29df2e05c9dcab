"""What may be sent to a target now, and what its responses mean.

Imports `reading` (pieces of a response) and the values of the room above. Start with `sending.py` (what is queued and
in flight), then `answers.py` (error codes); the others are limits: of requests, of fills, of a broker's memory of us.
"""
