"""Reading from the source: what is requested, what responses hold, and how that is made ready for the target.

Imports only the contracts of the room above (`context`, `ports`, `partition`). Start with `reader.py`, then
`taking.py`.
"""
