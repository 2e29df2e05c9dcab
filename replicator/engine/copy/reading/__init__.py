"""From the source: what is asked for, what the answers hold, and how it is made ready for the target.

Imports the room above only by its contracts (`context`, `ports`, `partition`). Begin with `reader.py`, then
`taking.py`.
"""
