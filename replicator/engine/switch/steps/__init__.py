"""The steps of a switch, carried out on both clusters: facts and changes, no decisions.

Of the room above it imports `repairs` and what is below that (`context`, `places`, `changes`, `takeover`), never the
executor; `core.switch.machine` says which step is next. Start with `close_source.py`, `fencing.py`, `reverse.py`: the
beginning, the middle and the end of a switch.
"""
